"""How far a long pass over data is: a bar on a terminal, a line now and then elsewhere, nothing at first."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from vltk.log import console, is_quiet, say

QUIET = 2.0  # seconds before the first word
OFTEN, SELDOM = 0.25, 30.0  # seconds between two: on a terminal, elsewhere


class Bar:
    """`if bar.due(): bar.show(done, text)`: how much of `total` is done, and what was found so far in words.

    Where the total is not known (None, 0) there is no percentage and no end in sight.
    """

    def __init__(self, title: str, total: int | None = None) -> None:
        self.title, self.total = title, total or None
        self.live = sys.stdout.isatty() and not is_quiet()
        self.started = time.monotonic()
        self._next = self.started + (QUIET if self.live else SELDOM)
        self._bar: Progress | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def due(self) -> bool:
        """Whether it is time to show something."""
        return time.monotonic() >= self._next

    def rate(self, done: int) -> str:
        """`1,234/s`: of what was done since the bar was made."""
        return f"{done / max(time.monotonic() - self.started, 1e-9):,.0f}/s"

    def show(self, done: int, text: str) -> None:
        self._next = time.monotonic() + (OFTEN if self.live else SELDOM)
        if self.live:
            self._draw(done, text)
            return
        if self.total is None:
            say(f"{self.title}: {text}")
            return
        share = min(done / self.total, 1)
        minutes = (time.monotonic() - self.started) * (1 - share) / max(share, 1e-9) / 60
        say(f"{self.title}: {share:.0%}, {f'about {minutes:.0f} min left, ' if share else ''}{text}")

    def _draw(self, done: int, text: str) -> None:
        if self._bar is None:
            parts = (TextColumn("{task.description}"), BarColumn())
            ends = (TaskProgressColumn(), TimeRemainingColumn()) if self.total else ()
            self._bar = Progress(*parts, *ends, TextColumn("{task.fields[found]}"), console=console)
            self._task = self._bar.add_task(self.title, total=self.total, found="")
            self._bar.start()
        self._bar.update(self._task, completed=min(done, self.total or done), found=text)
