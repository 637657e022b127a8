"""How far an evaluation is: a line on a terminal that says task, samples, speed and time left; else a line a task."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from rich.status import Status
from rich.text import Text

from vltk.eval.evaluation import Evaluation
from vltk.log import console, say


class Progress:
    """Of one run. Time left is what the tasks that were evaluated took for their cost, and nothing before the first;
    failed ones do not count."""

    def __init__(self, title: str) -> None:
        self.title = title
        self._costs: dict[str, float] = {}
        self._spent = self._paid = 0.0  # seconds, and the cost of the tasks that they bought
        self._count, self._task, self._began, self._marks = 0, "", 0.0, (0.0, 0)
        self._status = Status(Text(title), console=console) if console.is_terminal else None

    def __enter__(self) -> Self:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._status is not None:
            self._status.stop()

    def begin(self, costs: Mapping[str, float]) -> None:
        """The tasks that are to be done."""
        self._costs, self._count = dict(costs), len(costs)

    def start(self, task: str) -> None:
        self._task, self._began = task, time.perf_counter()
        self._marks = (self._began, 0)
        self._show("")

    def watch(self, what: str, done: int, total: int) -> None:
        """So many of the images, texts, pairs or steps of the task; `total` 0 where the end is not known."""
        if self._status is None:
            return
        since, first = self._marks
        if done <= first:  # another pass has begun
            since, first = self._marks = (time.perf_counter(), done)
        rate = (done - first) / max(time.perf_counter() - since, 1e-9)
        if not total:
            self._show(f"{what}, {done}")
        elif done > first:
            self._show(f"{what} {done:,}/{total:,}, {rate:,.0f}/s, {clock((total - done) / rate)} left")

    def end(self, task: str, made: Evaluation, how: str) -> None:
        """`how` it came about where this process did not do it now."""
        cost = self._costs.pop(task, 0.0)
        seconds = time.perf_counter() - self._began
        if made.done and not how:
            self._spent, self._paid = self._spent + seconds, self._paid + cost
        took = how or clock(seconds)
        state = "" if made.done else "failed, "
        say(f"{self.title}: {task} ({self._count - len(self._costs)} of {self._count}): {state}{took}{self._left()}")

    def waiting(self, tasks: Sequence[str]) -> None:
        """For other processes."""
        if self._status is not None:
            self._status.update(Text(f"{self.title}: waiting for other processes: {', '.join(tasks)}"))

    def _show(self, what: str) -> None:
        if self._status is not None:
            number = self._count - len(self._costs) + 1
            self._status.update(Text(f"{self.title}: {self._task} ({number} of {self._count}) {what}{self._left()}"))

    def _left(self) -> str:
        """For the tasks that are left, by this process alone."""
        left = sum(self._costs.values())
        return f"; all: {clock(left * self._spent / self._paid)} left" if self._paid and left else ""


def clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
