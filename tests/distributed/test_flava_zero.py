"""A whole FLAVA, its six losses round robin, in two processes under each ZeRO stage: the losses of one process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from torch import Tensor

from tests.processes import in_processes
from tests.tiny import Cached, batch, flava
from tests.towers import zero_of
from vltk import dist
from vltk.parts import choose
from vltk.recipe import Optimizer
from vltk.train.accumulate import run_step
from vltk.train.engines.torch import Torch
from vltk.train.optim import Group, groups, learning_rate
from vltk.train.pretraining import Pretraining
from vltk.train.setup import recompute

STREAMS = {"pairs": ["itc", "itm", "mmm"], "text": ["mlm"], "image": ["mim"]}
STEPS, BATCH = 20, 4
AGAIN = " again"  # with activations that are computed again in backward
OPTIONS = Optimizer(lr=2e-3, warmup=2, clip=0.5)


def made(average: float | None = None) -> Pretraining:
    provided = {"model": flava(), "codes": Cached()}
    parts = {
        stream: {name: choose("objectives", name).build(**provided) for name in names}
        for stream, names in STREAMS.items()
    }
    return Pretraining(provided["model"], parts, provided["codes"].codes, average).train()


def micro_batches(step: int, stream: str) -> list[Mapping[str, Tensor]]:
    """This rank's part of the step, sample by sample in micro-batches of one: the hardest split there is."""
    matched = [1, 0, 1, 1] if stream == "pairs" else None
    whole = batch(BATCH, (12, 7, 12, 9), matched, seed=step)
    own = BATCH // dist.world()
    first = dist.rank() * own
    return [{name: tensor[n : n + 1] for name, tensor in whole.items()} for n in range(first, first + own)]


def losses(name: str) -> list[dict[str, float]]:
    """The losses of all steps and their gradient norms."""
    pretraining = made()
    if name.endswith(AGAIN):
        recompute(pretraining)
    reached = {stream: pretraining.reached(stream, batch(2, (12, 7), [1, 0])) for stream in STREAMS}
    engine = engine_of(name, pretraining, groups(pretraining, reached))
    return [one_step(engine, pretraining, step) for step in range(STEPS)]


def engine_of(name: str, pretraining: Pretraining, found: list[Group]) -> Any:
    name = name.removesuffix(AGAIN)
    if name == "torch":
        return Torch(pretraining, found, OPTIONS, "fp32")
    from vltk.train.engines.deepspeed import DeepSpeed

    zero = zero_of(int(name[-1]), kept=100)
    return DeepSpeed(pretraining, found, OPTIONS, "fp32", {"zero_optimization": zero})


def one_step(engine: Any, pretraining: Pretraining, step: int) -> dict[str, float]:
    stream = list(STREAMS)[step % len(STREAMS)]
    record = run_step(engine, pretraining, stream, micro_batches(step, stream), step, seed=0)
    whole = {name: float(dist.sum_over_ranks(loss)) for name, loss in record.losses.items()}
    return whole | {"norm": engine.step(learning_rate(OPTIONS, step, STEPS), stream)}


def every(names: list[str]) -> dict[str, Any]:
    return {name: losses(name) for name in names}


ENGINES = ["torch", "zero-0", "zero-1", "zero-2", "zero-3"]
RECOMPUTING = [f"{name}{AGAIN}" for name in ("torch", "zero-1", "zero-2", "zero-3")]


@pytest.fixture(scope="module")
def alone() -> list[dict[str, float]]:
    return losses("torch")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return in_processes(2, every, tmp_path_factory.mktemp("flava"), [*ENGINES, *RECOMPUTING])


@pytest.mark.parametrize("name", [*ENGINES, *RECOMPUTING])
def test_losses_are_those_of_one_process(name: str, found: dict[str, Any], alone: list[dict[str, float]]) -> None:
    assert len(found[name]) == STEPS and found[name][0]["itc"] != found[name][3]["itc"]
    assert found[name] == [pytest.approx(step, rel=1e-4) for step in alone]
