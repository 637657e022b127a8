"""Progress of a fetch: rows done, yield, rate, time left, why rows fail; live on a terminal, else plain lines."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from vltk.data.fetch.estimate import duration
from vltk.log import console, is_quiet, say

SILENT = 2.0  # seconds within which nothing is shown
EVERY = 10.0  # seconds between plain lines
REASONS = 4  # kinds of failure that are named


class FetchProgress:
    """Counts rows by status; `before` are those of earlier runs, which count for the yield and not for the rate.

    Until the first shard is packed, what the proxy has logged is shown: `follow` says where.
    """

    def __init__(self, total: int, before: Mapping[str, int] | None = None) -> None:
        self.total, self.packed, self.asked = total, Counter(before or {}), Counter[str]()
        self._before = self.packed.total()
        self._began = self._told = time.monotonic()
        self._log: Path | None = None
        self._read = 0  # bytes of the log
        self._note = ""
        self._bar = Progress(TextColumn("{task.description}"), BarColumn())
        self._task = self._bar.add_task("rows", total=total, completed=self._before)
        self._live: Live | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        if self._live:
            self._live.__exit__(kind, error, trace)

    def row(self, status: str) -> None:
        """One more row has its status; from one thread at a time."""
        self.packed[status] += 1

    def note(self, text: str) -> None:
        """What is going on besides, such as a pause."""
        self._note = text

    def follow(self, log: Path) -> None:
        """Count the requests that the proxy notes there, from its end on."""
        self._log, self._read = log, log.stat().st_size if log.exists() else 0

    def line(self) -> str:
        """`1,200/5,000 rows  64% ok  310 rows/s  left 2 min  lost: http_404 12%, dns 6%`."""
        packed, asked = self.packed.copy(), self.asked.copy()
        done = max(packed.total(), min(self.total, self._before + asked.total()))
        rate = (done - self._before) / max(time.monotonic() - self._began, 1e-9)
        parts = [f"{done:,}/{self.total:,} rows", *_yield(packed or asked), f"{rate:.0f} rows/s"]
        if rate and done < self.total:
            parts.append(f"left {duration((self.total - done) / rate)}")
        return "  ".join([*parts, *_lost(packed or asked), *([self._note] if self._note else [])])

    def _watch(self) -> None:
        while not self._over.wait(0.5):
            self._count()
            if not is_quiet() and time.monotonic() - self._began > SILENT:
                self._show()

    def _count(self) -> None:
        """What the log has got since the last look; a log that began anew is read from its start."""
        if self._log is None or not self._log.exists():
            return
        with self._log.open("rb") as file:
            if self._read > self._log.stat().st_size:
                self._read = 0
            file.seek(self._read)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._read += len(line)
                self.asked[json.loads(line).get("status", "")] += 1

    def _show(self) -> None:
        now = time.monotonic()
        if sys.stdout.isatty():
            if self._live is None:
                self._live = Live(get_renderable=self._view, console=console, refresh_per_second=4, transient=True)
                self._live.__enter__()
        elif now - self._told >= EVERY:
            self._told = now
            say(self.line())

    def _view(self) -> Group:
        self._bar.update(self._task, completed=max(self.packed.total(), self._before + self.asked.total()))
        return Group(self._bar, Text(self.line()))


def _yield(counts: Counter[str]) -> list[str]:
    total = counts.total()
    return [f"{counts['ok'] / total:.0%} ok"] if total else []


def _lost(counts: Counter[str]) -> list[str]:
    total = counts.total()
    worst = [(status, count) for status, count in counts.most_common() if status != "ok"][:REASONS]
    return ["lost: " + ", ".join(f"{status} {count / total:.0%}" for status, count in worst)] if worst else []
