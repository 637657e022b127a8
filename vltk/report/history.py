"""Reads what a run wrote about itself line by line: metrics.jsonl, results.jsonl, bad_samples.jsonl.

A run may be training while its files are read, or have died in the middle of a line: what cannot be read is counted.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

Row = dict[str, Any]


@dataclass(frozen=True)
class Lines:
    """The rows of a JSON-lines file, whether its last line is still being written, and which others are unreadable."""

    rows: list[Row]
    unfinished: bool = False
    broken: tuple[int, ...] = ()  # line numbers, from 1


def read_lines(path: Path) -> Lines:
    """Every JSON object of the file; an absent file has none."""
    if not path.exists():
        return Lines([])
    text = path.read_text(encoding="utf-8", errors="replace")
    rows, broken = [], []
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        if line.strip():
            row = _row(line)
            if row is None:
                broken.append(number)
            else:
                rows.append(row)
    unfinished = bool(broken) and broken[-1] == len(lines)
    return Lines(rows, unfinished, tuple(broken[:-1] if unfinished else broken))


def _row(line: str) -> Row | None:
    try:
        row = json.loads(line)
    except json.JSONDecodeError:
        return None
    return row if isinstance(row, dict) else None


def without_rewound(rows: Iterable[Row]) -> list[Row]:
    """The logged steps of the run as it stands: steps a resume went back over count once, as they were trained last.

    A step has a row for each stream that was trained since the row before it.
    """
    kept: list[Row] = []
    for row in rows:
        if _goes_back(kept, row):
            while kept and kept[-1]["step"] >= row["step"]:
                kept.pop()
        kept.append(row)
    return kept


def _goes_back(kept: list[Row], row: Row) -> bool:
    """Whether this step, or this stream at this step, was logged before."""
    if not kept or kept[-1]["step"] < row["step"]:
        return False
    at_step = takewhile(lambda before: before["step"] == row["step"], reversed(kept))
    return kept[-1]["step"] > row["step"] or row.get("stream") in [before.get("stream") for before in at_step]


@dataclass(frozen=True)
class Score:
    """One (task, split, metric) of a stage: every evaluated step, oldest first, and the row of its latest one."""

    task: str
    split: str
    metric: str
    latest: Row
    steps: list[int]
    values: list[float]

    @property
    def where(self) -> str:
        """Task and split, the split only where the task does not say it."""
        return self.task if self.split in self.task else f"{self.task} · {self.split}"

    @property
    def in_percent(self) -> bool:
        return any(word in self.metric.lower() for word in ("r@", "recall", "accuracy"))

    @property
    def best(self) -> int:
        """Position of the best value among those evaluated."""
        falls = any(word in self.metric.lower() for word in ("rank", "loss", "dead"))
        return (min if falls else max)(range(len(self.values)), key=self.values.__getitem__)

    @property
    def chance(self) -> float | None:
        """What guessing would give, where the protocol says it."""
        return (self.latest.get("detail") or {}).get("chance")


def scores(rows: Iterable[Row]) -> list[Score]:
    """The results by (task, split, metric), in the order in which they first appear."""
    grouped: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        key = (str(row.get("task", "")), str(row.get("split") or ""), str(row.get("metric", "")))
        grouped.setdefault(key, []).append(row)
    return [_score(key, group) for key, group in grouped.items()]


def _score(key: tuple[str, str, str], rows: list[Row]) -> Score:
    by_step = {int(row.get("step") or 0): float(row["value"]) for row in rows}  # a step evaluated twice: the later
    steps = sorted(by_step)
    return Score(*key, latest=rows[-1], steps=steps, values=[by_step[step] for step in steps])
