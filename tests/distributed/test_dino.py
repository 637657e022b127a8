"""DINO in two processes under each engine, in micro-batches of one image: losses, centre and teacher of one process."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests import tiny
from tests.distributed.test_flava_zero import ENGINES, engine_of
from tests.processes import in_processes
from tests.towers import state_of
from vltk import dist
from vltk.recipe import Optimizer
from vltk.train.accumulate import run_step
from vltk.train.optim import groups, learning_rate, weight_decay

STEPS, BATCH = 6, 4
OPTIONS = Optimizer(lr=2e-3, warmup=2, weight_decay=0.04, final_weight_decay=0.4)


def facts(name: str) -> dict[str, Any]:
    """What two processes and one must agree on; the last layer starts at step 3."""
    pretraining = tiny.dino(tiny.flava(text=None, fusion=None), STEPS)
    reached = pretraining.reached("all", tiny.crops(2))
    engine = engine_of(name, pretraining, groups(pretraining, {"all": reached}, pretraining.starts))
    pretraining.follow(engine)
    own = range(dist.rank() * BATCH // dist.world(), (dist.rank() + 1) * BATCH // dist.world())
    losses = []
    for step in range(STEPS):
        whole = tiny.crops(BATCH, seed=step)
        batches = [{key: tensor[n : n + 1] for key, tensor in whole.items()} for n in own]
        record = run_step(engine, pretraining, "all", batches, step, seed=0)
        rates = learning_rate(OPTIONS, step, STEPS), weight_decay(OPTIONS, step, STEPS)
        norm = engine.step(rates[0], "all", step, rates[1])
        entropy = pretraining.after_step(engine, "all", step, record.kept)["mean_target_entropy"]
        losses.append([float(dist.sum_over_ranks(record.losses["dino"])), norm, float(entropy)])
    state, teacher = state_of(engine), pretraining.replicas["teacher"].state()
    centre = state["weights"].get("objectives.all.dino.centre", torch.zeros(0))
    return {
        "losses": losses,
        "centre": centre.tolist(),
        "steps": {key: float(state["steps"][key]) for key in sorted(state["steps"]) if "head" in key},
        "teacher": {
            key: [float(tensor.double().sum()), *tensor.flatten()[:4].tolist()] for key, tensor in teacher.items()
        },
    }


def every(names: list[str]) -> dict[str, Any]:
    return {name: facts(name) for name in names}


@pytest.fixture(scope="module")
def alone() -> dict[str, Any]:
    return facts("torch")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return in_processes(2, every, tmp_path_factory.mktemp("dino"), ENGINES)


@pytest.mark.parametrize("name", ENGINES)
def test_two_processes_do_what_one_does(name: str, found: dict[str, Any], alone: dict[str, Any]) -> None:
    assert found[name]["losses"] == [pytest.approx(step, rel=1e-3) for step in alone["losses"]]
    assert found[name]["centre"] == pytest.approx(alone["centre"], rel=1e-3, abs=1e-5)
    assert found[name]["steps"] == alone["steps"] and alone["steps"]["objectives.all.dino.head.last.weight"] == 3
    teacher = {key: pytest.approx(numbers, rel=1e-3, abs=1e-4) for key, numbers in alone["teacher"].items()}
    assert found[name]["teacher"] == teacher
