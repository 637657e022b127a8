"""A loss that is no number ends a run before the optimizer has used it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from vltk.errors import VltkError
from vltk.train import loop
from vltk.train.accumulate import Record


@pytest.fixture
def setup(tmp_path: Path) -> Any:
    return SimpleNamespace(name="toy/joint", folder=SimpleNamespace(checkpoints=tmp_path))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_losses(value: float, setup: Any) -> None:
    good = {"itc": torch.tensor(1.0), "itm": torch.tensor(2.0, dtype=torch.bfloat16)}
    loop._check_losses(setup, Record(good), 3, "pairs")
    with pytest.raises(VltkError, match="^toy/joint, step 3, stream pairs: the loss of mlm is not a finite number"):
        loop._check_losses(setup, Record({**good, "mlm": torch.tensor(value)}), 3, "pairs")


def test_gradients(setup: Any) -> None:
    loop._check_norm(setup, 1e30, 3, "pairs")
    with pytest.raises(VltkError, match="the losses are finite, but their gradient is not a finite number"):
        loop._check_norm(setup, float("inf"), 3, "pairs")
