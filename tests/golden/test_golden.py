"""Losses of twenty steps are those that were stored: a silent change of the mathematics or the data order is seen, and
so is a step that does more than it did.

Where a change is meant: python -m tests.golden.refresh, and say why in the changelog.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.golden.curves import OBJECTIVES, STEPS, curve, order, stored
from tests.golden.work import work


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_losses_are_those_stored(objective: str, threads: int) -> None:
    found, wanted = curve(objective), stored(objective)
    near = {name: 5e-3 if name == "gradient norm" else 1e-4 for name in wanted}
    assert found == {name: pytest.approx(values, rel=near[name], abs=1e-6) for name, values in wanted.items()}


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_what_is_stored_is_a_run_that_learns(objective: str) -> None:
    """Else a golden file could hold the losses of a broken objective."""
    for name, values in stored(objective).items():
        assert len(values) == STEPS
        if name not in ("gradient norm", "kl"):
            assert sum(values[-3:]) < sum(values[:3]), name


def test_order_and_masks_are_those_stored(home: Path) -> None:
    assert order() == stored("order")


def test_a_step_does_no_more_than_it_did() -> None:
    """FLOPs, operators and bytes kept for backward by stream; where fewer are meant, store them, so that they cannot
    grow again unseen."""
    found, wanted = work(), stored("work")
    assert {stream: counts["flops"] for stream, counts in found.items()} == {
        stream: counts["flops"] for stream, counts in wanted.items()
    }
    for stream, counts in wanted.items():
        assert found[stream]["operators"] <= counts["operators"], stream
        assert found[stream]["kept"] <= counts["kept"], stream
