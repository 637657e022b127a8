"""What a sweep trains: a run for each variant and seed, whose stages of equal identity are trained once.

A stage that an earlier run of the sweep trains too is a link into that run's folder: `runs/SWEEP/b-0/codes` ->
`../a-0/codes`. It is set once that stage is finished, and is then as good as a stage of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from vltk.identity import digest, identity, recorded
from vltk.recipe import Recipe
from vltk.run import RUNS, RunFolder, split_step
from vltk.sweep.load import Sweep
from vltk.train.sources import named, own_stage, steps_wanted


@dataclass(frozen=True)
class Run:
    """One variant with one seed; `recipe` is what is trained, into `runs/SWEEP/VARIANT-SEED/STAGE`."""

    variant: str
    seed: int
    recipe: Recipe

    @property
    def name(self) -> str:
        return f"{self.variant}-{self.seed}"

    @property
    def folder(self) -> Path:
        return RUNS / self.recipe.name

    @cached_property
    def keys(self) -> dict[str, str]:
        """By stage, what it is (see `keys_of`)."""
        return keys_of(self.recipe)

    def stage(self, name: str) -> RunFolder:
        return RunFolder(self.folder / name)

    def is_finished(self, stage: str) -> bool:
        """Whether the stage was trained to its end, as the recipe says it now."""
        facts = self.stage(stage).facts()
        return facts.get("status") == "finished" and self._fits(stage)

    def is_trained(self) -> bool:
        return all(map(self.is_finished, self.recipe.stages))

    def _fits(self, stage: str) -> bool:
        before = recorded(self.stage(stage))
        return bool(before) and before["recipe"] == self._said[stage]

    @cached_property
    def _said(self) -> dict[str, Any]:
        """By stage, the keys of its recipe that decide the result."""
        return {name: identity(stage, {}, {})["recipe"] for name, stage in self.recipe.stages.items()}


@dataclass(frozen=True)
class Plan:
    """All runs of a sweep in order, seed by seed."""

    sweep: Sweep
    runs: list[Run]

    @cached_property
    def makers(self) -> dict[str, tuple[Run, str]]:
        """By key, the first run with such a stage, and the stage's name there."""
        found: dict[str, tuple[Run, str]] = {}
        for run in self.runs:
            for stage, key in run.keys.items():
                found.setdefault(key, (run, stage))
        return found

    def maker(self, run: Run, stage: str) -> tuple[Run, str] | None:
        """The other run that trains this stage, and its name there; None where the run trains it itself.

        That is also so where it has begun to: it was once the only run with such a stage.
        """
        other, name = self.makers[run.keys[stage]]
        path = run.folder / stage
        begun = path.is_dir() and not path.is_symlink() and bool(RunFolder(path).facts())
        return None if other is run or begun else (other, name)

    def trainings(self) -> int:
        """How many stages are trained, each once."""
        return len(self.makers)


def plan(sweep: Sweep) -> Plan:
    """The runs of every variant with the first seed, then with the next."""
    seeds, variants = sweep.options.seeds, sweep.options.variants
    return Plan(sweep, [Run(name, seed, sweep.recipe(name, seed)) for seed in seeds for name in variants])


def keys_of(recipe: Recipe) -> dict[str, str]:
    """By stage, a digest of all that its recipe says of its result and of what it leaves behind for others.

    Within one sweep, where data and other runs are the same for all, equal keys mean equal stages.
    """
    keys: dict[str, str] = {}
    for name, stage in recipe.stages.items():
        values = named(stage)
        before = {value: (own_stage(recipe, value), split_step(value)[1]) for value in values}
        keys[name] = digest(
            {
                "recipe": identity(stage, {}, {})["recipe"],
                "sources": {value: [keys.get(own or "", ""), step] for value, (own, step) in before.items()},
                "evaluate": stage.evaluate.model_dump(mode="json"),
                "wanted": sorted(steps_wanted(recipe, name)),
            }
        )
    return keys


def join(plan: Plan, run: Run) -> None:
    """Makes the run's folder, with a link for each stage that another run has finished; drops links that are stale."""
    run.folder.mkdir(parents=True, exist_ok=True)
    for stage in run.recipe.stages:
        path = run.folder / stage
        if path.is_symlink() and not run.is_finished(stage):
            path.unlink()
        maker = plan.maker(run, stage)
        if maker is not None and not path.is_symlink():
            if path.is_dir():  # a start that ended before it wrote anything
                (path / "lock").unlink(missing_ok=True)
                path.rmdir()
            path.symlink_to(Path("..") / maker[0].name / maker[1], target_is_directory=True)


def links(plan: Plan) -> dict[str, str]:
    """`RUN/STAGE` of each link, and the `RUN/STAGE` that it is."""
    return {
        f"{run.name}/{stage}": f"{path.readlink().parent.name}/{path.readlink().name}"
        for run in plan.runs
        for stage in run.recipe.stages
        if (path := run.folder / stage).is_symlink()
    }
