"""What `init` and `frozen` name: an earlier stage of the same recipe or a run, each with an optional `@STEP`, or a
Hugging Face folder."""

from __future__ import annotations

from pathlib import Path

from vltk.errors import Missing, VltkError
from vltk.recipe import Recipe, Stage
from vltk.run import RUNS, RunFolder, Source, find_source, split_step


def own_stage(recipe: Recipe, value: str) -> str | None:
    """The stage of the recipe that `codes`, `codes@100` or `runs/NAME/codes` names, if it is one."""
    text, _ = split_step(value)
    path = Path(text)
    name = path.name if path.parent == RUNS / recipe.name else text
    return name if name in recipe.stages else None


def source(recipe: Recipe, value: str) -> Source:
    """The folder, and the step where one is named. Raises Missing where there is none."""
    stage = own_stage(recipe, value)
    if stage is None:
        return find_source(value)
    return RunFolder(RUNS / recipe.name / stage, split_step(value)[1])


def require_finished(run: Source, value: str) -> None:
    """Raises Missing where the run was never begun, VltkError where it is not finished; checkpoints may be taken."""
    if not isinstance(run, RunFolder) or run.step is not None:
        return
    status = run.facts().get("status")
    if status is None:
        raise Missing(f"{run.path} is not trained yet", [(f"the run {run.name}", f"vltk train {run.path.parent.name}")])
    if status != "finished":
        raise VltkError(
            f"{run.path} is not finished, so nothing can start from it: finish it first, or name one of its "
            f"checkpoints with {value}@STEP"
        )


def named(stage: Stage) -> list[str]:
    """Every value of `init` and `frozen`."""
    return [*stage.init.values(), *stage.frozen.values()]


def steps_wanted(recipe: Recipe, name: str) -> set[int]:
    """The steps of a stage that other stages of the recipe start from: their checkpoints must be written and kept."""
    values = [value for stage in recipe.stages.values() for value in named(stage) if own_stage(recipe, value) == name]
    return {step for value in values if (step := split_step(value)[1]) is not None}
