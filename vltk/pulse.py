"""A pulse in every rank: who died, froze or was cut off is known everywhere within a minute, and so is a hung step.

A thread of each rank writes a beat into the store of the process group every second. Rank 0 looks at the beats of all,
the others at that of rank 0, where the store lives, and at the verdict: the first rank that finds something writes it
there, and all ranks end with it, each once its stack is in its log. Collectives need no time limit of their own, so
that one rank may work alone for as long as it lives (`patient`), as the first does when it evaluates.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from threading import Event, Thread
from typing import Any

from vltk import dist

BEAT = 1.0  # seconds
LOST = 30.0  # seconds without a beat, after which a rank counts as lost
UNREACHABLE = "cannot be reached any more: dead, frozen or cut off"
_VERDICT = "verdict"


@dataclass(frozen=True)
class Verdict:
    """What ends the job. failed: whether rank `rank` itself says why it ends; else it was lost, or hangs."""

    rank: int
    host: str
    text: str
    code: int
    failed: bool


class Pulse:
    """The beat of this rank. cut: called by the thread with the verdict of another rank; it does not return.

    hang: the seconds that a step may take, once `step` has been called.
    """

    def __init__(self, hang: float, cut: Callable[[Verdict], None]) -> None:
        self.hang, self._cut = hang, cut
        self._rank, self._world = dist.rank(), dist.world()
        self._store: Any = dist.store().clone()  # type: ignore[attr-defined]  # a connection of its own
        self._store.set_timeout(timedelta(seconds=LOST))
        self._count, self._step, self._patient = 0, -1, 0
        self._moved = time.monotonic()
        self._stopped = Event()
        self._seen: dict[int, tuple[int, float]] = {}
        self._hosts: dict[int, str] = {}
        self._beat()
        if self._rank == 0:
            self._store.set(_VERDICT, "")
        dist.barrier()  # from here on every key is there
        Thread(target=self._run, name="vltk-pulse", daemon=True).start()
        if self._rank:
            Thread(target=self._guard, name="vltk-pulse-guard", daemon=True).start()

    def step(self, number: int) -> None:
        """A step begins; the one before took no longer than it may."""
        self._step, self._moved = number, time.monotonic()

    @contextmanager
    def patient(self) -> Iterator[None]:
        """Inside, this rank may work, or wait for another one, for as long as they live."""
        self._patient += 1
        try:
            yield
        finally:
            self._patient -= 1
            self._moved = time.monotonic()

    def rest(self) -> None:
        """No step is under way any more."""
        self._step = -1

    def fail(self, text: str, code: int) -> None:
        """Tells the others why this rank ends; returns once they have had the time to hear it."""
        self._publish(Verdict(self._rank, dist.host(), text, code, failed=True))
        self.stop()
        if self._rank == 0:  # the store ends with this process
            time.sleep(2 * BEAT)

    def verdict(self, patience: float) -> Verdict | None:
        """What another rank has found, waited for as long; None also where the store is gone, with rank 0."""
        deadline = time.monotonic() + patience
        with suppress(Exception):  # whatever a store says that is gone
            while time.monotonic() < deadline:
                if found := self._verdict():
                    return found
                time.sleep(BEAT / 4)
        return None

    def stop(self) -> None:
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.wait(BEAT):
            try:
                self._beat()
                found = self._verdict()
                if found is None:
                    self._look()
            except Exception as error:  # whatever a store says that is gone
                if self._stopped.is_set():
                    return
                found = self._orphaned(error)
            if found is not None and not self._stopped.is_set():
                self._stopped.set()
                self._cut(found)

    def _guard(self) -> None:
        """Ends this rank where its store answers nothing at all, as that of a frozen rank 0 does: torch tells it that a
        request has timed out, and then waits for ever for a word on that. Counts its own beats, so that a process
        which was itself stopped for a while has the same time again."""
        silent, before = 0, self._count
        while silent * BEAT < LOST + 2 * BEAT:
            if self._stopped.wait(BEAT):
                return
            silent = silent + 1 if self._count == before else 0
            before = self._count
        self._stopped.set()
        self._cut(self._lost(0, UNREACHABLE))

    def _beat(self) -> None:
        self._count += 1
        beat = {"count": self._count, "step": self._step, "host": dist.host(), "late": self._is_late()}
        self._store.set(f"beat/{self._rank}", json.dumps(beat))

    def _is_late(self) -> bool:
        return self._step >= 0 and not self._patient and time.monotonic() - self._moved > self.hang

    def _look(self) -> None:
        """Rank 0 looks at all beats, the others at its."""
        ranks = range(1, self._world) if self._rank == 0 else [0]
        beats = {}
        for rank, text in zip(ranks, self._store.multi_get([f"beat/{rank}" for rank in ranks]), strict=True):
            beats[rank] = json.loads(text)
            self._hosts[rank] = beats[rank]["host"]
        now = time.monotonic()
        for rank, beat in beats.items():
            if self._seen.get(rank, (0, 0.0))[0] != beat["count"]:
                self._seen[rank] = (beat["count"], now)
        silent = [rank for rank, (_, when) in self._seen.items() if now - when > LOST]
        if silent:
            others = f", nor of {len(silent) - 1} others" if len(silent) > 1 else ""
            self._publish(
                self._lost(silent[0], f"was not heard of for {LOST:.0f} seconds{others}: dead, frozen or cut off")
            )
        elif self._rank == 0 and (self._is_late() or any(beat["late"] for beat in beats.values())):
            self._publish(self._hung(beats))

    def _hung(self, beats: dict[int, dict[str, Any]]) -> Verdict:
        steps = {0: self._step} | {rank: beat["step"] for rank, beat in beats.items()}
        behind = min(steps, key=lambda rank: steps[rank])
        which = f"step {steps[behind]}" if steps[behind] >= 0 else "what follows the last step"
        where = " on any rank" if len(set(steps.values())) == 1 else ""
        text = f"{which} has not ended{where} within {self.hang:.0f} seconds (faults.hang)"
        return self._lost(behind, f"{text}; the stacks are in ranks/*.log")

    def _lost(self, rank: int, text: str) -> Verdict:
        return Verdict(rank, self._hosts.get(rank, dist.host()), text, 75, failed=False)

    def _orphaned(self, error: Exception) -> Verdict:
        """Without the store there is nobody to agree with."""
        if self._rank == 0:
            return self._lost(0, f"its own store does not answer ({error})")
        return self._lost(0, UNREACHABLE)

    def _verdict(self) -> Verdict | None:
        text = self._store.get(_VERDICT)
        return Verdict(**json.loads(text)) if text else None

    def _publish(self, verdict: Verdict) -> None:
        try:
            self._store.compare_set(_VERDICT, "", json.dumps(verdict.__dict__))
        except Exception as error:
            if verdict.failed:
                return  # the others find out that the store is gone
            raise error


_own: Pulse | None = None


def start(cut: Callable[[Verdict], None], hang: float = 600.0) -> None:
    """Where there are several ranks, which all call it."""
    global _own
    if dist.world() > 1 and dist.has_store():
        _own = Pulse(hang, cut)


def stop() -> None:
    """Before the ranks part; each calls it while all still live."""
    global _own
    if _own is not None:
        _own.stop()
        _own = None


def own() -> Pulse | None:
    """The pulse of this rank, where it has one."""
    return _own


def step(number: int, hang: float) -> None:
    """A step begins that may take `hang` seconds."""
    if _own is not None:
        _own.hang = hang
        _own.step(number)


def rest() -> None:
    """The steps have ended."""
    if _own is not None:
        _own.rest()


@contextmanager
def patient() -> Iterator[None]:
    """Inside, ranks may work or wait for one another for as long as they live."""
    if _own is None:
        yield
        return
    with _own.patient():
        yield
