"""The weights a run ends with: those of the last step, or the best by the metric that the recipe names."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from torch import Tensor

from vltk.errors import VltkError
from vltk.log import say
from vltk.train import best
from vltk.train.setup import Setup, model_weights
from vltk.train.together import on_main
from vltk.whole import differs, seal, whole


def keep_best(setup: Setup, rows: list[dict[str, Any]], step: int) -> None:
    """Keeps the weights as they stand if the recipe's `evaluate.best` metric is the best so far. Rank 0 only."""
    wanted = setup.stage.evaluate.best
    if wanted is None:
        return
    task, _, metric = wanted.partition(" ")
    value = next((row["value"] for row in rows if row["task"] == task and row["metric"] == metric), None)
    if value is None:
        have = ", ".join(sorted({row["metric"] for row in rows if row["task"] == task}))
        raise VltkError(f"evaluate.best: task {task} has no metric '{metric}'; have: {have}")
    if best.improves(metric, value, setup.best.get("value")):
        state, kept = setup.pretraining.evaluated.state_dict(), best.path_of(setup.folder.path, step)
        write({name: t.detach().float().cpu() for name, t in state.items()}, kept)
        setup.best = {"value": value, "step": step, "weights": seal(kept)}


def write_final(setup: Setup) -> None:
    """model.safetensors: the best weights where one was asked for, else the last ones; then the run is finished."""
    last = model_weights(setup)
    on_main(lambda: _finish(setup, last))


def _finish(setup: Setup, last: dict[str, Tensor]) -> None:
    step = setup.stage.steps
    if setup.best:
        step = int(setup.best["step"])
        _take(best.path_of(setup.folder.path, step), setup.folder.weights, setup.best.get("weights"))
        say(f"{setup.name}: weights of step {step}, the best {setup.stage.evaluate.best}: {setup.best['value']:.4f}")
    else:
        write(last, setup.folder.weights)
    setup.folder.finished(step)
    best.drop(setup.folder.path)


def _take(kept: Path, weights: Path, sealed: dict[str, Any] | None) -> None:
    """Copies the kept weights, as they are needed again if the run ends before it is noted as finished."""
    wrong = "are gone" if not kept.exists() else sealed and differs(kept, sealed)
    if wrong:
        raise VltkError(f"{kept}, the best weights: {wrong}; put them back, or train again with --redo")
    with whole(weights) as part:
        shutil.copyfile(kept, part)


def write(weights: dict[str, Tensor], path: Path) -> None:
    """Safetensors, complete or not at all."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        with whole(path) as part:
            save_file({name: tensor.contiguous() for name, tensor in weights.items()}, part)
    except (OSError, SafetensorError) as error:
        raise VltkError(f"cannot write {path}: {error}; an older file is untouched") from error
