"""What a run says: a live view on a terminal, plain lines elsewhere; rank 0 speaks, the others keep logs. And JSON
lines on disk."""

from __future__ import annotations

import fcntl
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

console = Console(highlight=False, soft_wrap=True, emoji=False)  # `:label:` in the name of a task is no picture
SHOWN = {  # metrics that stand beside the losses: the health of a tokenizer in training
    "codes_used": "{:.0f} codes used",
    "dead_codes": "{:.0f} dead",
    "perplexity": "perplexity {:.1f}",
    "psnr": "{:.1f} dB",
}


_keeps_log = False  # whether what this rank says goes into a log of its own
_unsaid = False


def is_quiet() -> bool:
    """True on every rank but the first."""
    return os.environ.get("RANK", "0") != "0"


def speak_into_log() -> None:
    """From here on a rank that was quiet speaks too, as its output goes into a log."""
    global _keeps_log
    _keeps_log = True


@contextmanager
def unsaid() -> Iterator[None]:
    """Inside, nothing is said nor warned of: for what is built to be measured and thrown away."""
    global _unsaid
    before, _unsaid = _unsaid, True
    try:
        yield
    finally:
        _unsaid = before


def say(text: str) -> None:
    """One line to the user, from rank 0; from others into their logs."""
    if _speaks():
        console.print(text, markup=False)


def warn(text: str) -> None:
    """One line the user should not miss, from rank 0, on standard error; from others into their logs."""
    if _speaks():
        Console(stderr=True, highlight=False, soft_wrap=True, emoji=False).print(f"warning: {text}", markup=False)


def _speaks() -> bool:
    return not _unsaid and (not is_quiet() or _keeps_log)


class JsonLines:
    """A file with one JSON object a line, which several processes may add to. A line outlives this process as soon as
    `write` returns, but not a loss of power: it is not forced to disk."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, row: Mapping[str, Any]) -> None:
        line = json.dumps(row, allow_nan=False) + "\n"
        with self.path.open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write(line)

    def keep(self, wanted: Callable[[dict[str, Any]], bool]) -> None:
        """Drops all other rows, and a half-written last line: a resumed run writes them again.

        In place and under a lock, as another process may be about to add rows. What is dropped is mostly the end of
        the file, which is then cut off in one go.
        """
        if not self.path.exists():
            return
        with self.path.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            before = file.read()
            lines = before.splitlines(keepends=True)
            after = b"".join(line for line in lines if (row := _row(line)) is not None and wanted(row))
            if not before.startswith(after):
                file.seek(0)
                file.write(after)
                file.flush()
            file.truncate(len(after))


def _row(line: bytes) -> dict[str, Any] | None:
    """None for a line that was cut short."""
    if not line.endswith(b"\n"):
        return None
    try:
        row: dict[str, Any] = json.loads(line)
    except ValueError:  # no JSON, or no UTF-8
        return None
    return row


class Monitor:
    """Progress of a stage: step, losses by name, samples/s, data wait, time left, memory."""

    def __init__(self, stage: str, steps: int, first: int) -> None:
        self.stage, self.steps, self.first = stage, steps, first
        self.latest: dict[str, str] = {}
        live = sys.stdout.isatty() and not is_quiet()
        self.progress = Progress(
            TextColumn("{task.description}", "bold", markup=False),
            BarColumn(),
            TextColumn("step {task.completed}/{task.total}"),
        )
        self.task = self.progress.add_task(stage, total=steps, completed=first)
        self.live = Live(self._view(), console=console, refresh_per_second=4) if live else None

    def __enter__(self) -> Self:
        if self.live:
            self.live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live:
            self.live.__exit__(kind, error, trace)

    def show(self, row: Mapping[str, Any], seconds_left: float) -> None:
        """Shows one row of metrics.jsonl."""
        metrics = row["metrics"]
        told = [f"{name} {value:.4f}" for name, value in row["losses"].items()]
        told += [form.format(metrics[name]) for name, form in SHOWN.items() if name in metrics]
        losses = "  ".join(told)
        rates = f"{row['samples_per_s']:.0f} samples/s  wait {row['data_wait']:.0%}  {row['memory_gb']:.1f} GB"
        rates += f"  MFU {row['mfu']:.0%}" if "mfu" in row else ""
        self.latest[row["stream"]] = f"{losses}  {rates}"
        if self.live:
            self.progress.update(self.task, completed=row["step"], description=f"{self.stage} {_clock(seconds_left)}")
            self.live.update(self._view())
        else:
            left = _clock(seconds_left)
            say(f"{self.stage} {row['step']}/{self.steps}  {row['stream']}: {losses}  {rates}  left {left}")

    def _view(self) -> Group:
        table = Table.grid(padding=(0, 2))
        for stream, text in self.latest.items():
            table.add_row(Text(stream, "cyan"), Text(text))
        return Group(self.progress, table)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
