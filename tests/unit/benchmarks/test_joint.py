"""What the benchmarks of engines train: parts of a batch give the losses of the whole, and memory is counted."""

from __future__ import annotations

import os

import pytest
import torch
from torch import nn

from benchmarks import joint


@pytest.mark.parametrize("stream", joint.STREAMS)
def test_parts_of_a_batch_train_as_the_whole(stream: str) -> None:
    whole, seen = joint.batch(4, 0, 32), []
    for parts in (1, 2):
        made = joint.made(32, 1, 32)
        engine = joint.engine_of(None, "fp32", made)
        seen.append([joint.one_step(engine, made[0], stream, whole, step, 4, parts) for step in range(2)])
    assert set(seen[0][0]) >= set(joint.STREAMS[stream]) - {"mmm"}
    for one, other in zip(*seen, strict=True):
        assert one == pytest.approx(other, rel=1e-4)
    assert seen[0][0] != seen[0][1]


def test_between_backward_and_step() -> None:
    made = joint.made(32, 1, 32)
    held: list[int] = []

    def look() -> None:
        held.append(sum(parameter.grad is not None for parameter in made[0].parameters()))

    joint.one_step(joint.engine_of(None, "fp32", made), made[0], "text", joint.batch(4, 0, 32), 0, 1, between=look)
    assert held and held[0] > 10


def test_memory() -> None:
    before = joint.tensors()
    kept = torch.zeros(2**20)
    views = [kept[:5], kept.view(2, -1)]
    assert joint.tensors() - before == pytest.approx(4, abs=0.1) and len(views) == 2
    kept.requires_grad_().sum().backward()
    assert joint.tensors() - before == pytest.approx(8, abs=0.1)
    assert joint.resident() > 50
    layer = nn.Linear(2**10, 2**10, bias=False)
    assert [joint.predicted(stage, layer) for stage in (None, 0, 1, 2, 3)] == [16, 16, 20, 20, 20]


def test_processes_know_their_ranks() -> None:
    assert joint.in_processes(2, os.getenv, "RANK") == ["0", "1"]


def test_batches_are_of_their_step() -> None:
    one, same, other = joint.batch(8, 3, 32), joint.batch(8, 3, 32), joint.batch(8, 4, 32)
    assert all(torch.equal(one[name], same[name]) for name in one) and not torch.equal(one["text"], other["text"])
    assert one["matched"].sum() == 6 and (one["text_masked_at"].sum(1) >= 1).all()
