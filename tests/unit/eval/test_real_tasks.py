"""Probes of plain pixels on small real subsets: better than guessing, which needs images and labels that fit."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch.nn.functional as F
from torch import Tensor

from tests.unit.eval.test_official_tasks import encode_by, subject
from vltk.errors import VltkError
from vltk.eval import task

LEAST = {"mnist": 80.0, "cifar10": 20.0, "gtsrb": 15.0, "dtd": 15.0, "oxford_pets": 36.0}  # percent
LIMIT = 1000


def pixels(images: Tensor) -> Tensor:
    """images (B, 3, 32, 32) uint8 -> (B, 192): the means of squares of four pixels."""
    return F.avg_pool2d(images.float() / 255, 4).flatten(1)


@pytest.mark.parametrize("name", list(LEAST))
def test_a_probe_of_a_real_subset(name: str, trained: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    place = os.environ.get("VLTK_TEST_DATA")
    if not place:
        pytest.skip("VLTK_TEST_DATA does not say where the small real subsets are")
    encode_by(monkeypatch, pixels)
    choice = task.limited(task.card(name), LIMIT).model_copy(update={"max_iterations": 30})
    accuracy, per_class = choice.build()(subject(trained, Path(place)))
    assert accuracy.value > LEAST[name] > (accuracy.chance or 0) and per_class.value > 10
    assert accuracy.n == len(accuracy.answers["labels"]) <= LIMIT
    official = subject(trained, Path(place))
    official.library.nonstandard = False
    with pytest.raises(VltkError, match="officially|files of the data set are absent"):
        choice.build()(official)
