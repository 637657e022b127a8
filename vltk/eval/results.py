"""The rows of results.jsonl: one JSON object a line."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vltk.errors import VltkError
from vltk.eval.answers import Answers

# One line: task, split, metric, value (recalls and accuracies in percent), n, seed, run, step, seconds (of the whole
# task), and where known detail: how the value came about (chance, penalty and convergence of a probe); of `vltk eval`
# also interval: [low, high], and key: of the evaluation, a file of the folder evaluations.
Row = dict[str, Any]
FILE = "results.jsonl"


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


def append(path: Path, rows: Sequence[Row], once: bool = False) -> None:
    """Adds the rows in one locked write: all or none; with `once` those that do not stand there letter for letter.

    Raises VltkError when the disk takes only a part.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n").encode() for line in rows]
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        there = set(path.read_bytes().splitlines(keepends=True)) if once else set()
        _write_at(handle, _end_of_last_line(handle), b"".join(line for line in lines if line not in there))
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
