"""Contestants in processes of their own, with their own allocator and memory, that work in turns and never together."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import torch
from torch import multiprocessing

COUNTED = 2  # calls of a turn, behind one that is not
T = TypeVar("T")


@dataclass(frozen=True)
class Spent:
    """Seconds on the clock, and of all threads of the process together: other load hardly changes those."""

    wall: float
    cpu: float


class Contestant:
    """A process that builds `build(*given)` when it is first asked, and calls its methods by name.

    prepare: called here before the process starts; what it sets in the environment holds there alone.
    """

    def __init__(
        self, threads: int, build: Callable[..., Any], *given: Any, prepare: Callable[[], object] = int
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, end = context.Pipe()
        self._process = context.Process(target=_serve, args=(end, threads, build, given), daemon=True)
        with _environment_kept():
            prepare()
            self._process.start()
        end.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pipe.close()
        self._process.join()

    def __call__(self, method: str, *given: Any) -> Any:
        """What the method returned; raises what it raised."""
        return self._ask(method, *given)[0]

    def timed(self, method: str, *given: Any) -> Spent:
        """How long it took, measured there."""
        return self._ask(method, *given)[1]

    def peak(self) -> float:
        """The most memory that the process has held, in GiB."""
        held: float = self._ask("")[0]
        return held

    def _ask(self, method: str, *given: Any) -> tuple[Any, Spent]:
        self._pipe.send((method, given))
        error, result, spent = self._pipe.recv()
        if error is not None:
            raise error
        return result, spent


@contextmanager
def _environment_kept() -> Iterator[None]:
    before = dict(os.environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _serve(pipe: Connection, threads: int, build: Callable[..., Any], given: tuple[Any, ...]) -> None:
    torch.set_num_threads(threads)
    built = None
    while True:
        try:
            method, arguments = pipe.recv()
        except EOFError:
            return
        try:
            built = build(*given) if built is None else built
            work = getattr(built, method) if method else _peak
            start, cpu = time.perf_counter(), time.process_time()
            result = work(*arguments)
            pipe.send((None, result, Spent(time.perf_counter() - start, time.process_time() - cpu)))
        except Exception as error:
            pipe.send((error, None, Spent(0.0, 0.0)))


def _peak() -> float:
    # getrusage starts from what the process that started this one has held
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 2**20


def in_turns(
    contestants: Mapping[str, Contestant], method: str, rounds: int, warm: int, between: Callable[[], T]
) -> tuple[dict[str, list[Spent]], list[T]]:
    """By name what `method` took in each round, the mean of `COUNTED` calls, and what `between` measured behind each.

    Who goes first changes from round to round, and the first `warm` rounds are not counted. Nor is the first call of a
    turn: threads that have slept begin on one core together (up to 30 ms of a step of 50 in a trial outside the
    tree), beside those of the process before, that still look for work.
    """
    spent: dict[str, list[Spent]] = {name: [] for name in contestants}
    measured = []
    for turn in range(-warm, rounds):
        for name in list(contestants)[:: 1 if turn % 2 else -1]:
            taken = _turn(contestants[name], method)
            if turn >= 0:
                spent[name].append(taken)
        if turn >= 0:
            measured.append(between())
    return spent, measured


def _turn(contestant: Contestant, method: str) -> Spent:
    contestant(method)
    calls = [contestant.timed(method) for _ in range(COUNTED)]
    return Spent(sum(call.wall for call in calls) / COUNTED, sum(call.cpu for call in calls) / COUNTED)
