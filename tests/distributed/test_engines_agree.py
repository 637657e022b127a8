"""Two processes do what one does: plain torch, and DeepSpeed at ZeRO stages 0 to 3."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.processes import in_processes
from tests.towers import (
    BATCH,
    OPTIONS,
    STEPS,
    Held,
    batch_of,
    changes,
    made,
    one_step,
    run,
    state_of,
    trained_by,
    zero_of,
)
from vltk import dist
from vltk.checkpoint import Saved
from vltk.recipe import Checkpoints
from vltk.train.engines.torch import Torch
from vltk.train.saving import Saver

MIDDLE, LATER = 7, 14
ENGINES = ["torch", "zero-0", "zero-1", "zero-2", "zero-3"]


def build(name: str, precision: str = "fp32", **zero: Any) -> tuple[Any, list[Any]]:
    """An engine by name; at stage 3 no parameter is small enough to be kept whole."""
    toy, found = made()
    if name == "torch":
        return Torch(toy, found, OPTIONS, precision), found  # type: ignore[arg-type]
    from vltk.train.engines.deepspeed import DeepSpeed

    zero |= zero_of(int(name[-1]))
    return DeepSpeed(toy, found, OPTIONS, precision, {"zero_optimization": zero}), found  # type: ignore[arg-type]


def facts(name: str, folder: str) -> dict[str, Any]:
    """Everything that is asked of an engine, found out in the processes that share it."""
    return {
        "trained": [trained(name, micro_batches) for micro_batches in (1, 2)],
        "resumed": resumed(name, Path(folder)),
        "spoiled": spoiled(name),
        "gathered": gathered(name),
        "bf16": [pair for pair in run(build(name, "bf16")[0], 0, 6)],
        "refused": refused(name),
    }


def trained(name: str, micro_batches: int) -> dict[str, Any]:
    """Losses and norms of all steps; for each, the parameters that changed and should not have, or the reverse."""
    engine, found = build(name)
    pairs, wrong, before = [], [], state_of(engine)
    for step in range(STEPS):
        pairs.append(one_step(engine, step, batch_of(step), micro_batches))
        after = state_of(engine)
        if dist.is_main():
            wrong.append(sorted(changes(before, after) ^ trained_by(found, step)))
        before = after
    return {"pairs": pairs, "wrong": wrong}


def resumed(name: str, folder: Path) -> list[tuple[float, float]]:
    """Goes on from a checkpoint of one torch process, and leaves one for it."""
    engine, _ = build(name)
    list(run(engine, 0, 4))  # what was there before must not matter
    engine.load(Saved(folder / "given" / f"step-{MIDDLE:08d}"))
    pairs = list(run(engine, MIDDLE, LATER))
    save(folder / name, LATER, engine)
    return pairs


def save(folder: Path, step: int, engine: Any) -> None:
    """A checkpoint of it, each rank its part."""
    with Saver(folder, Checkpoints(keep=1)) as saver:
        saver.save(step, engine.pieces(), {"step": step})


def spoiled(name: str) -> dict[str, Any]:
    """A step whose gradient is not a number, after which training goes on."""
    engine, _ = build(name)
    list(run(engine, 0, 5))
    before = state_of(engine)
    bad = batch_of(5)
    bad["images"][0] = math.nan
    _, norm = one_step(engine, 5, bad)
    return {
        "finite": math.isfinite(norm),
        "changed": sorted(changes(before, state_of(engine))),
        "pairs": list(run(engine, 5, 11)),
    }


def gathered(name: str) -> dict[str, Any]:
    """Evaluation by rank 0 alone in the midst of training."""
    engine, _ = build(name)
    list(run(engine, 0, 5))
    with engine.gathered(), torch.no_grad():
        seen = []
        if dist.is_main():
            engine.module.eval()
            seen = [float(engine.module.model.encode_image(batch_of(n)["images"]).sum()) for n in (3, 4)]
            engine.module.train()
    return {"seen": seen, "pairs": list(run(engine, 5, 11))}


def refused(name: str) -> str:
    """What every rank raises where a checkpoint is not of this model."""
    engine, _ = build(name)
    state = state_of(engine)
    state["weights"].pop("model.cls", None)
    try:
        engine.load(Held(state))
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


@pytest.fixture(scope="module")
def alone() -> list[tuple[float, float]]:
    """The losses and norms of the torch engine in one process, whole batches."""
    return list(run(Torch(*made(), OPTIONS, "fp32"), 0, STEPS))


@pytest.fixture(scope="module", params=ENGINES)
def found(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp(request.param)
    engine = Torch(*made(), OPTIONS, "fp32")
    list(run(engine, 0, MIDDLE))
    save(folder / "given", MIDDLE, engine)
    return request.param, folder, in_processes(2, facts, folder, request.param, str(folder))


def near(pairs: list[tuple[float, float]]) -> list[Any]:
    return [pytest.approx(list(pair), rel=1e-4) for pair in pairs]


def test_clipping_matters(alone: list[tuple[float, float]]) -> None:
    """Else the tests below could not see a wrong norm."""
    assert OPTIONS.clip is not None and BATCH % 4 == 0
    norms = [norm for _, norm in alone]
    assert min(norms) > OPTIONS.clip and max(norms) > 5 * min(norms)


@pytest.mark.parametrize("micro_batches", [1, 2])
def test_losses_and_norms_are_those_of_one_process(found: Any, alone: Any, micro_batches: int) -> None:
    """The norm holds no stale gradient: at stage 3 it would be larger from the second step on."""
    assert found[2]["trained"][micro_batches - 1]["pairs"] == near(alone)


@pytest.mark.parametrize("micro_batches", [1, 2])
def test_idle_towers_stay_exactly_as_they_are(found: Any, micro_batches: int) -> None:
    assert found[2]["trained"][micro_batches - 1]["wrong"] == [[]] * STEPS


def test_goes_on_from_a_checkpoint_of_one_torch_process(found: Any, alone: Any) -> None:
    assert found[2]["resumed"] == near(alone[MIDDLE:LATER])


def test_one_torch_process_goes_on_from_its_checkpoint(found: Any, alone: Any) -> None:
    name, folder, _ = found
    engine = Torch(*made(), OPTIONS, "fp32")
    engine.load(Saved(folder / name / f"step-{LATER:08d}"))
    assert [list(pair) for pair in run(engine, LATER, STEPS)] == near(alone[LATER:])


def test_nothing_changes_where_the_norm_is_not_finite(found: Any, alone: Any) -> None:
    spoiled = found[2]["spoiled"]
    assert not spoiled["finite"] and spoiled["changed"] == []
    assert spoiled["pairs"] == near(alone[5:11])


def test_rank_0_may_evaluate_alone(found: Any, alone: Any) -> None:
    engine: Any = Torch(*made(), OPTIONS, "fp32")
    list(run(engine, 0, 5))
    with torch.no_grad():
        expected = [float(engine.module.model.encode_image(batch_of(n)["images"]).sum()) for n in (3, 4)]
    assert found[2]["gathered"]["seen"] == pytest.approx(expected, rel=1e-4)
    assert found[2]["gathered"]["pairs"] == near(alone[5:11])


def test_bf16_is_close_and_another_arithmetic(found: Any, alone: Any) -> None:
    losses = [loss for loss, _ in found[2]["bf16"]]
    assert losses == pytest.approx([loss for loss, _ in alone[:6]], rel=0.03)
    assert losses != pytest.approx([loss for loss, _ in alone[:6]], rel=1e-5)


def test_refusal_reaches_every_rank(found: Any) -> None:
    """Else the others would wait for the rank that raised."""
    assert found[2]["refused"].startswith("VltkError") and "weights: missing model.cls (6,)" in found[2]["refused"]
