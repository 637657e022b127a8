"""How a model fared, seed by seed: its evaluations and what it was trained with, and which of them may be compared."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

from benchmarks.peers.training import Budget, Record
from vltk.errors import VltkError

Row = dict[str, Any]
SHOWN = 6  # conditions that a message names


@dataclass(frozen=True)
class Course:
    """One model trained from one seed, and its evaluations in order.

    `shared` has to agree between all models in the keys that they have in common, `own` between the seeds of one model.
    """

    model: str
    seed: int
    source: str  # where it comes from, for messages
    shared: dict[str, object]
    own: dict[str, object]
    records: list[Record] = field(default_factory=list)


def of_peer(model: str, conditions: Row, source: str) -> Course:
    """The course of a peer under the conditions that its file begins with, as yet without evaluations."""
    shared = {key: value for key, value in conditions.items() if key not in ("seed", "steps", "minutes")}
    budget = _budget(model, conditions)
    own: dict[str, object] = {"steps": budget.steps} if budget.steps else {"minutes": budget.minutes}
    return Course(model, conditions["seed"], source, shared, own)


def read_courses(path: Path, models: Sequence[str]) -> list[Course]:
    """What the peers `models` left in a file of `--out`, which may hold several runs of the command.

    Raises VltkError where it is not there, holds anything else, or has a training that did not reach its end.
    """
    courses: list[Course] = []
    for conditions, rows in _runs(path, models):
        names = dict.fromkeys(row["model"] for row in rows)
        if not names:
            raise VltkError(f"{path}: not finished: seed {conditions['seed']} has no evaluation")
        for name in names:
            course = of_peer(name, conditions, str(path))
            own = [row for row in rows if row["model"] == name]
            course.records.extend(own)
            last = own[-1]
            if _budget(name, conditions).progress(last["step"], last["seconds"]) < 1:
                raise VltkError(f"{path}: not finished: {name} of seed {course.seed} stands at step {last['step']}")
            courses.append(course)
    return courses


def refuse_unlike(courses: Sequence[Course]) -> None:
    """Raises VltkError where they cannot stand in one table: other conditions, a seed twice or lacking."""
    for left, right in combinations(courses, 2):
        alike = left.model == right.model
        if alike and left.seed == right.seed:
            raise VltkError(f"{left.model} of seed {left.seed} is given twice: {left.source} and {right.source}")
        own = _differing(left.own, right.own, left.own.keys() | right.own.keys()) if alike else []
        unlike = own + _differing(left.shared, right.shared, left.shared.keys() & right.shared.keys())
        if unlike:
            shown = ", ".join(unlike[:SHOWN]) + (f" and {len(unlike) - SHOWN} more" if len(unlike) > SHOWN else "")
            raise VltkError(f"{left.source} and {right.source} are of different conditions: {shown}")
    seeds = {model: sorted(course.seed for course in group) for model, group in by_model(courses).items()}
    if len({tuple(given) for given in seeds.values()}) > 1:
        have = "; ".join(f"{model} {', '.join(map(str, given))}" for model, given in seeds.items())
        raise VltkError(f"all models need the same seeds; have: {have}")


def by_model(courses: Sequence[Course]) -> dict[str, list[Course]]:
    """The courses of each model by seed, models as they come."""
    models = dict.fromkeys(course.model for course in courses)
    return {m: sorted((c for c in courses if c.model == m), key=lambda course: course.seed) for m in models}


def _runs(path: Path, models: Sequence[str]) -> list[tuple[Row, list[Row]]]:
    """The conditions of each run of the command, and the evaluations behind them."""
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise VltkError(
            f"{path}: {error.strerror}; --summary reads what --out of the peers' training has written"
        ) from error
    runs: list[tuple[Row, list[Row]]] = []
    for number, line in enumerate(lines, 1):
        row = _row(line)
        if "conditions" in row:
            runs.append((row["conditions"], []))
        elif runs and row.get("model") in models:
            runs[-1][1].append(row)
        else:
            raise VltkError(f"{path}:{number}: no evaluation of {' or '.join(models)} behind its conditions")
    if not runs:
        raise VltkError(f"{path} is empty")
    return runs


def _row(line: str) -> Row:
    """The object of a line; an empty one where there is none."""
    try:
        row = json.loads(line)
    except json.JSONDecodeError:
        return {}
    return row if isinstance(row, dict) else {}


def _budget(model: str, conditions: Row) -> Budget:
    return Budget(conditions["minutes"], conditions["steps"].get(model))


def _differing(left: Row, right: Row, keys: set[str]) -> list[str]:
    return [f"{key} {left.get(key)} and {right.get(key)}" for key in sorted(keys) if left.get(key) != right.get(key)]
