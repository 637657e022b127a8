"""Averaged weights in two processes under each engine: those of one process."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.distributed.test_flava_zero import ENGINES, STREAMS, batch, engine_of, made, one_step
from tests.processes import in_processes
from tests.towers import Held, assembled
from vltk import dist
from vltk.checkpoint import snapshot
from vltk.train.optim import groups

STEPS = 6


def averages(name: str) -> dict[str, list[float]]:
    """The averaged tensors after a few steps, each as its sum and a few numbers; and that every rank has the same."""
    pretraining = made(average=0.9)
    reached = {stream: pretraining.reached(stream, batch(2, (12, 7), [1, 0])) for stream in STREAMS}
    engine = engine_of(name, pretraining, groups(pretraining, reached))
    pretraining.follow(engine)
    for step in range(STEPS):
        one_step(engine, pretraining, step)
        pretraining.follow(engine, step)
    replica = pretraining.replicas["average"]
    total = torch.stack([p.double().abs().sum() for p in replica.module.parameters()]).sum()
    assert torch.allclose(dist.sum_over_ranks(total), dist.world() * total)
    again = made(average=0.9).replicas["average"]
    again.load(Held(assembled([snapshot(replica.pieces("average"))])), "average")
    return {key: [float(t.double().sum()), *t.flatten()[:4].tolist()] for key, t in again.module.state_dict().items()}


def every(names: list[str]) -> dict[str, Any]:
    return {name: averages(name) for name in names}


@pytest.fixture(scope="module")
def alone() -> dict[str, list[float]]:
    return averages("torch")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return in_processes(2, every, tmp_path_factory.mktemp("replicas"), ENGINES)


@pytest.mark.parametrize("name", ENGINES)
def test_averages_are_those_of_one_process(name: str, found: dict[str, Any], alone: dict[str, list[float]]) -> None:
    assert found[name] == {key: pytest.approx(numbers, rel=1e-3, abs=1e-5) for key, numbers in alone.items()}
