"""The weights a run ends with: those of the last step, or the best by the metric that the recipe names."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from torch import Tensor

from vltk.errors import VltkError
from vltk.log import say
from vltk.train.setup import Setup, model_weights
from vltk.train.together import on_main

BEST = "best.safetensors"


def keep_best(setup: Setup, rows: list[dict[str, Any]], step: int) -> None:
    """Keeps the weights as they stand if the recipe's `evaluate.best` metric is the highest so far. Rank 0 only."""
    best = setup.stage.evaluate.best
    if best is None:
        return
    task, _, metric = best.partition(" ")
    value = next((row["value"] for row in rows if row["task"] == task and row["metric"] == metric), None)
    if value is None:
        have = ", ".join(sorted({row["metric"] for row in rows if row["task"] == task}))
        raise VltkError(f"evaluate.best: task {task} has no metric '{metric}'; have: {have}")
    if value > setup.best.get("value", float("-inf")):
        setup.best = {"value": value, "step": step}
        model = setup.pretraining.model
        write({name: t.detach().float().cpu() for name, t in model.state_dict().items()}, setup.folder.path / BEST)


def write_final(setup: Setup) -> None:
    """model.safetensors: the best weights where one was asked for, else the last ones; then the run is finished."""
    last = model_weights(setup)
    on_main(lambda: _finish(setup, last))


def _finish(setup: Setup, last: dict[str, Tensor]) -> None:
    step = setup.stage.steps
    if setup.best:
        step = int(setup.best["step"])
        part = setup.folder.weights.with_suffix(".part")
        shutil.copyfile(setup.folder.path / BEST, part)
        part.replace(setup.folder.weights)
        say(f"{setup.name}: weights of step {step}, the best {setup.stage.evaluate.best}: {setup.best['value']:.4f}")
    else:
        write(last, setup.folder.weights)
    setup.folder.note(status="finished", weights_step=step)


def write(weights: dict[str, Tensor], path: Path) -> None:
    """Safetensors, complete or not at all."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    part = path.with_suffix(".part")
    try:
        save_file({name: tensor.contiguous() for name, tensor in weights.items()}, part)
    except (OSError, SafetensorError) as error:
        part.unlink(missing_ok=True)
        raise VltkError(f"cannot write {path}: {error}; an older file is untouched") from error
    part.replace(path)
