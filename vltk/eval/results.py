"""The rows of results.jsonl (one JSON object a line) and the table a person reads."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Table

from vltk.errors import VltkError
from vltk.eval.answers import Answers

# One line: task, split, metric, value (recalls and accuracies in percent), n, seed, run, step, seconds (of the whole
# task), and where known detail: how the value came about (chance, penalty and convergence of a probe).
Row = dict[str, Any]


@dataclass(frozen=True)
class Score:
    """What a protocol measures: `value` over `n` samples or queries; `chance` is what guessing would give.

    `answers` are what it comes from, sample by sample; scores of the same answers share them.
    """

    split: str
    metric: str
    value: float
    n: int
    chance: float | None = None
    detail: dict[str, Any] = field(default_factory=dict)
    answers: Answers | None = None


def row(score: Score, *, task: str, seed: int, run: str, step: int, seconds: float) -> Row:
    """The line of results.jsonl for a score."""
    line: Row = {
        "task": task,
        "split": score.split,
        "metric": score.metric,
        "value": score.value,
        "n": score.n,
        "seed": seed,
        "run": run,
        "step": step,
        "seconds": round(seconds, 3),
    }
    chance = {} if score.chance is None else {"chance": score.chance}
    if detail := chance | score.detail:
        line["detail"] = detail
    return line


def append(path: Path, rows: Sequence[Row]) -> None:
    """Adds the rows in one locked write: all or none. Raises VltkError when the disk takes only a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = "".join(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n" for line in rows).encode()
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        _write_at(handle, _end_of_last_line(handle), content)
    except OSError as error:
        raise VltkError(f"{path}: the results could not be written ({error}); nothing was added") from error
    finally:
        os.close(handle)


def _write_at(handle: int, end: int, content: bytes) -> None:
    """Writes everything at `end`, or leaves the file as long as it was."""
    os.ftruncate(handle, end)
    try:
        written = 0
        while written < len(content):
            written += os.pwrite(handle, content[written:], end + written)
        os.fsync(handle)
    except OSError:
        os.ftruncate(handle, end)
        raise


def _end_of_last_line(handle: int) -> int:
    """Bytes of whole lines: what a killed process left behind the last line end is no row."""
    size = os.fstat(handle).st_size
    tail = os.pread(handle, min(size, 1 << 16), max(0, size - (1 << 16)))
    return size - len(tail) + tail.rfind(b"\n") + 1


def table(title: str, rows: Sequence[Row]) -> Table:
    """Task, metric, value, n, and chance where it is known."""
    grid = Table(title=title, title_justify="left", highlight=False)
    for heading in ("task", "metric"):
        grid.add_column(heading, overflow="fold")
    for heading in ("value", "n", "chance"):
        grid.add_column(heading, justify="right")
    task = None
    for line in rows:
        if task not in (None, line["task"]):
            grid.add_section()
        chance = line.get("detail", {}).get("chance")
        shown = "" if chance is None else f"{chance:.2f}"
        grid.add_row(line["task"], line["metric"], f"{line['value']:.2f}", f"{line['n']:,}", shown)
        task = line["task"]
    return grid
