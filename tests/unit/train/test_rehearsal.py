"""Modules of shapes alone can be copied, as a teacher is copied from its student."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import nn

from vltk.train.rehearsal import Rehearsal


@pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor")
def test_a_copy_belongs_to_the_same_rehearsal() -> None:
    """A second FakeTensorMode would free the storages that the first one knows, once more: the heap breaks later."""
    rehearsal = Rehearsal()
    with rehearsal.shapes:
        module = nn.BatchNorm1d(3)
        torch.tensor(1.0)  # a constant, whose storage the mode remembers
    copy = deepcopy(module)
    for tensor in (*copy.parameters(), *copy.buffers(), module.weight + copy.weight):
        assert tensor.fake_mode is rehearsal.shapes
