"""What torch says of its own collectives is said in no step."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
import torch.distributed as torch_dist

from tests.processes import in_processes
from vltk import dist


def work() -> dict[str, Any]:
    """What is warned of in a step, and whether what is filtered is the same behind it."""
    with warnings.catch_warnings(record=True) as said:
        warnings.filters.remove(("ignore", None, Warning, None, 0))  # of `in_processes`
        warnings.simplefilter("always", append=True)
        before = list(warnings.filters)
        dist.gather_with_grad(torch.ones(2, requires_grad=True)).sum().backward()
        torch_dist.all_gather_into_tensor(torch.empty(4), torch.ones(2))
        torch_dist.reduce_scatter_tensor(torch.empty(2), torch.ones(4))
        warnings.warn("of anything else", stacklevel=1)
        return {"said": [str(one.message) for one in said], "kept": warnings.filters == before}


def test_a_step_warns_of_nothing(tmp_path: Path) -> None:
    assert in_processes(2, work, tmp_path) == {"said": ["of anything else"], "kept": True}
