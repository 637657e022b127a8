"""What is measured of each run: results that training wrote, or tasks that are evaluated once a run is trained."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from vltk import parts
from vltk.errors import RecipeError
from vltk.eval import task
from vltk.eval.run import absent_data
from vltk.parts import Choice
from vltk.recipe import Recipe
from vltk.report.history import read_lines
from vltk.strict import suggest
from vltk.sweep.load import Sweep, in_variants
from vltk.sweep.plan import Run
from vltk.sweep.schema import Measure
from vltk.train.best import improves

SEED = 0  # of the tasks that are evaluated: the same samples and masks for every run, so that runs can be compared


@dataclass(frozen=True)
class Column:
    """A measure as one variant has it: the task's name, its metric, and the stage that is measured."""

    heading: str
    measure: Measure
    stage: str
    trained: bool  # whether training evaluates the task itself

    @property
    def task(self) -> str:
        return self.measure.metric.partition(" ")[0]

    @property
    def metric(self) -> str:
        return self.measure.metric.partition(" ")[2]


def columns(sweep: Sweep, recipe: Recipe) -> list[Column]:
    """The measures of a variant; those of a stage that it does not have are left out."""
    found = []
    for heading, measure in sweep.options.measure.items():
        stage = measure.stage or list(recipe.stages)[-1]
        if stage in recipe.stages:
            trained = measure.metric.partition(" ")[0] in recipe.stages[stage].evaluate.tasks
            found.append(Column(heading, measure, stage, trained))
    return found


def check(sweep: Sweep) -> None:
    """Raises RecipeError with every measure that a variant cannot give."""
    found: dict[str, list[str]] = {}
    for variant, recipe in sweep.variants.items():
        for column in columns(sweep, recipe):
            if (text := _mistake(column, recipe)) is not None:
                origin = sweep.origin("measure", column.heading)
                found.setdefault(f"{origin}: measure.{column.heading}: {text}", []).append(variant)
    if found:
        raise RecipeError(in_variants(found, sweep.variants))


def _mistake(column: Column, recipe: Recipe) -> str | None:
    own = recipe.stages[column.stage].evaluate.tasks
    try:
        choice = own[column.task] if column.trained else _read(column.task, own)
    except RecipeError as error:
        return str(error)
    have = choice.build().metrics
    if column.metric not in have:
        known = suggest(column.metric, have)
        return f"should be 'TASK METRIC': task {column.task} has no metric '{column.metric}'{known}"
    if not column.trained and column.measure.at != "weights":
        return f"at: '{column.measure.at}' is for tasks that the recipe evaluates while training, and not {column.task}"
    return None


def _read(entry: str, own: dict[str, Choice]) -> Choice:
    """A task that training does not evaluate: a card, or PROTOCOL:DATA..."""
    if "," in entry:
        raise RecipeError(f"the task {entry} has a comma, which `vltk eval --tasks` takes as the end of a task")
    if ":" not in entry and entry not in task.names():
        forms = ", ".join(task.usage(part) for part in parts.names(task.PROTOCOLS))
        known = suggest(entry, [*own, *task.names()])
        raise RecipeError(f"no task '{entry}'{known}; or write one as {forms}")
    return task.read([entry])[entry]


def absent(sweep: Sweep) -> list[tuple[str, str]]:
    """What to bring for the tasks that are evaluated once runs are trained. Wrong ones are left to `check`."""
    chosen: dict[str, Choice] = {}
    for recipe in sweep.variants.values():
        for column in columns(sweep, recipe):
            if not column.trained:
                try:
                    chosen[column.task] = _read(column.task, {})
                except RecipeError:
                    continue
    return absent_data(chosen)


def lacking(sweep: Sweep, run: Run) -> dict[str, list[str]]:
    """By stage, the tasks that have to be evaluated yet, once the run is trained."""
    found: dict[str, list[str]] = {}
    for column in columns(sweep, run.recipe):
        if not column.trained and value(run, column) is None and column.task not in found.get(column.stage, []):
            found.setdefault(column.stage, []).append(column.task)
    return found


def value(run: Run, column: Column) -> float | None:
    """The figure of a finished stage; None where there is none."""
    if not run.is_finished(column.stage):
        return None
    steps = {
        "weights": run.stage(column.stage).facts().get("weights_step"),
        "last": run.recipe.stages[column.stage].steps,
    }
    best: float | None = None
    for row in _rows(run, column):
        if column.measure.at != "best":
            best = row["value"] if row["step"] == steps[column.measure.at] else best
        elif improves(column.metric, row["value"], best):
            best = row["value"]
    return best


def _rows(run: Run, column: Column) -> Iterator[dict[str, Any]]:
    for row in read_lines(run.stage(column.stage).path / "results.jsonl").rows:
        if (row.get("task"), row.get("metric"), row.get("seed")) == (column.task, column.metric, SEED):
            yield row
