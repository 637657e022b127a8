"""A stage folder as the report sees it: read once, from files that may be incomplete while the stage trains."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from vltk.errors import VltkError
from vltk.report import history
from vltk.report.history import Lines, Row, Score
from vltk.run import FACTS_FILE, RUNS, STAGE_FILE, WEIGHTS_FILE, find, split_step, stage_folders


@dataclass(frozen=True)
class StageRecord:
    """What a stage folder holds about its training; `recipe` is the resolved stage as plain data."""

    folder: Path
    info: dict[str, Any]
    recipe: dict[str, Any]
    recipe_text: str
    metrics: Lines
    results: Lines
    bad_samples: Lines
    chosen: int | None = None  # the step whose weights are shown; None: the finished or newest ones

    @property
    def name(self) -> str:
        return self.folder.resolve().name

    @property
    def status(self) -> str:
        return str(self.info.get("status") or "not started")

    @cached_property
    def rows(self) -> list[Row]:
        """The logged steps, in order, each once."""
        return history.without_rewound(row for row in self.metrics.rows if "step" in row)

    @cached_property
    def scores(self) -> list[Score]:
        return history.scores(row for row in self.results.rows if isinstance(row.get("value"), int | float))

    @property
    def step(self) -> int:
        """The last step known of: as recorded, or as logged since."""
        return max(int(self.info.get("step") or 0), self.rows[-1]["step"] if self.rows else 0)

    @property
    def steps(self) -> int | None:
        """The steps the recipe asks for."""
        return self.recipe.get("steps")

    @property
    def seconds(self) -> float:
        """Training time, over all starts."""
        return float(self.rows[-1].get("seconds") or 0.0) if self.rows else 0.0

    @property
    def has_weights(self) -> bool:
        return (self.folder / WEIGHTS_FILE).exists() or any((self.folder / "checkpoints").glob("step-*"))

    @property
    def streams(self) -> dict[str, dict[str, Any]]:
        return self.recipe.get("streams") or {}


def read_stage(folder: Path, chosen: int | None = None) -> StageRecord:
    """Raises VltkError when recipe.yaml or run.json is not what this program writes."""
    recipe_path, info_path = folder / STAGE_FILE, folder / FACTS_FILE
    recipe_text = recipe_path.read_text(encoding="utf-8")
    info_text = info_path.read_text(encoding="utf-8") if info_path.exists() else "{}"
    try:
        recipe, info = yaml.safe_load(recipe_text) or {}, json.loads(info_text)
    except (yaml.YAMLError, json.JSONDecodeError) as error:
        raise VltkError(f"{folder}: {STAGE_FILE} or {FACTS_FILE} cannot be read: {error}") from error
    metrics, results, bad = (
        history.read_lines(folder / f"{name}.jsonl") for name in ("metrics", "results", "bad_samples")
    )
    return StageRecord(folder, info, recipe, recipe_text, metrics, results, bad, chosen)


def read_stages(spec: str) -> tuple[Path, list[StageRecord]]:
    """The folder that `spec` names (a path, NAME or NAME/STAGE) and its stages, in the order they were begun.

    `@STEP` behind it chooses the weights of the last of them. Raises Missing when there is no such run.
    """
    last = find(spec)
    text = split_step(spec)[0]
    folder = next(path for path in (Path(text), RUNS / text) if stage_folders(path))
    steps = {last.path: last.step}
    return folder, [read_stage(stage, steps.get(stage)) for stage in stage_folders(folder)]
