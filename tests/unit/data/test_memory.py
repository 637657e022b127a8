"""Memory of batches is used again, and never while anything of the batch is left."""

from __future__ import annotations

import gc

import numpy as np
import torch

from vltk.data.batch import Batch, Filling
from vltk.data.memory import LARGE, Memory


def test_it_is_used_again() -> None:
    memory = Memory()
    first = memory.empty((4, LARGE), np.dtype(np.uint8))
    place = first.ctypes.data
    assert memory.empty((4, LARGE), np.dtype(np.uint8)).ctypes.data != place
    del first
    gc.collect()
    places = {memory.empty((LARGE, 4), np.dtype(np.uint8)).ctypes.data for _ in range(3)}
    assert place in places and len(places) <= 2


def test_views_and_tensors_hold_it() -> None:
    memory = Memory()
    shape, kind = (3, LARGE), np.dtype(np.uint8)
    for hold in (
        lambda array: array[1, 5:9],
        lambda array: array.reshape(-1)[LARGE : LARGE + 2],
        lambda array: torch.from_numpy(array)[1],
        lambda array: torch.from_numpy(array).view(torch.int8)[1:].numpy(),
    ):
        array = memory.empty(shape, kind)
        array[...] = 7
        held = hold(array)
        del array
        gc.collect()
        others = [memory.empty(shape, kind) for _ in range(4)]
        for other in others:
            other[...] = 1
        assert (np.asarray(held) == 7).all()


def test_batches_are_their_own() -> None:
    """Interleaved and planar images give the same rows, and a later batch does not touch an earlier one."""
    rng = np.random.default_rng(0)
    pixels = [rng.integers(0, 255, (224, 224, 3), dtype=np.uint8) for _ in range(16)]
    wanted = torch.from_numpy(np.stack([one.transpose(2, 0, 1) for one in pixels]))
    kept = [batch_of([one.transpose(2, 0, 1) for one in pixels]) for _ in range(3)]
    for _ in range(3):
        batch_of([np.zeros((3, 224, 224), np.uint8)] * 16)
    planar = batch_of([np.ascontiguousarray(one.transpose(2, 0, 1)) for one in pixels])
    assert all(torch.equal(batch.tensors["image"], wanted) for batch in (*kept, planar))


def batch_of(images: list[np.ndarray]) -> Batch:
    filling = Filling(len(images))
    for row, image in enumerate(images):
        filling.put(row, {"image": image})
    return filling.batch(["k"] * len(images), 0, 0)
