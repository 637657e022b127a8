"""BLIP and ALBEF in two processes, a group of samples a micro-batch: losses, queues and teacher of one process."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests import tiny
from tests.distributed.test_flava_zero import engine_of
from tests.processes import in_processes
from tests.towers import state_of
from vltk import dist
from vltk.recipe import Optimizer
from vltk.train.accumulate import run_step
from vltk.train.optim import groups, learning_rate

STEPS, BATCH, GROUP = 6, 6, 3
ENGINES = ["torch", "zero-2", "zero-3"]
LENGTHS = (12, 7, 4, 12, 9, 5)  # as long in each group: a rank pads to its own longest
OPTIONS = Optimizer(lr=2e-3, warmup=2)
FAMILIES = {"blip": (tiny.blip, tiny.BLIP), "albef": (tiny.albef, tiny.ALBEF)}


def facts(name: str, family: str) -> dict[str, Any]:
    """What two processes and one must agree on."""
    make, names = FAMILIES[family]
    pretraining = tiny.grouped(make(), *names)
    reached = pretraining.reached("all", tiny.batch(3))
    engine = engine_of(name, pretraining, groups(pretraining, {"all": reached}))
    pretraining.follow(engine)
    own = range(dist.rank() * BATCH // dist.world(), (dist.rank() + 1) * BATCH // dist.world(), GROUP)
    losses = []
    for step in range(STEPS):
        whole = tiny.batch(BATCH, LENGTHS, seed=step)
        batches: list[Any] = [{key: tensor[n : n + GROUP] for key, tensor in whole.items()} for n in own]
        record = run_step(engine, pretraining, "all", batches, step, seed=0)
        norm = engine.step(learning_rate(OPTIONS, step, STEPS), "all", step)
        pretraining.after_step(engine, "all", step, record.kept)
        losses.append([*(float(dist.sum_over_ranks(loss)) for loss in record.losses.values()), norm])
    state, teacher = state_of(engine)["weights"], pretraining.replicas["teacher"].state()
    queue = state.get("objectives.all.itc_momentum.image_queue", torch.zeros(0))
    ids = state.get("objectives.all.itc_momentum.queue_ids", torch.zeros(0))
    return {
        "losses": losses,
        "queue": queue.tolist(),
        "ids": ids.tolist(),
        "teacher": {
            key: [float(tensor.double().sum()), *tensor.flatten()[:4].tolist()] for key, tensor in teacher.items()
        },
    }


def every(names: list[str]) -> dict[str, Any]:
    return {f"{name} {family}": facts(name, family) for name in names for family in FAMILIES}


@pytest.fixture(scope="module")
def alone() -> dict[str, Any]:
    return every(["torch"])


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return in_processes(2, every, tmp_path_factory.mktemp("grouped"), ENGINES)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", ENGINES)
def test_two_processes_do_what_one_does(name: str, family: str, found: dict[str, Any], alone: dict[str, Any]) -> None:
    ours, wanted = found[f"{name} {family}"], alone[f"torch {family}"]
    assert ours["losses"] == [pytest.approx(step, rel=1e-3) for step in wanted["losses"]]
    assert ours["ids"] == wanted["ids"]
    assert ours["queue"] == [pytest.approx(key, rel=1e-3, abs=1e-4) for key in wanted["queue"]]
    teacher = {key: pytest.approx(numbers, rel=1e-3, abs=1e-3) for key, numbers in wanted["teacher"].items()}
    assert ours["teacher"] == teacher
