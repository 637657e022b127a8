"""Starts the ranks of a command on its machines, waits for them, shows the first error, and starts them again."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from types import FrameType

from vltk.errors import VltkError
from vltk.launch.agent import SILENCE
from vltk.launch.failure import MENDED_BY_A_START, Failure, first
from vltk.launch.hostfile import Host
from vltk.launch.machines import Machine, machine
from vltk.launch.ranks import Share

PATIENCE = 2 * 3600  # seconds that ranks told to stop may take to end their step and save it
GRACE = 8.0  # seconds that the other ranks have, once one has failed, to say why they end too
HELLO = 60.0  # seconds that a machine may take to answer
POLL = 0.1

Elastic = Callable[[int, int], tuple[int, list[str]]]  # ranks at first, ranks there are now -> ranks to use, overrides


class Spread:
    """`vltk ARGUMENTS` on every slot of the hosts. restarts: how often it may be started again by itself;
    elastic: how many of the ranks that are left can share the work, and what then has to be said besides."""

    def __init__(
        self, hosts: Sequence[Host], arguments: Sequence[str], restarts: int = 0, elastic: Elastic | None = None
    ) -> None:
        self.hosts, self.arguments, self.restarts = list(hosts), list(arguments), restarts
        self.elastic, self.world = elastic, sum(host.slots for host in hosts)
        self.asked_at: float | None = None
        self._signals: list[int] = []
        self._machines: list[Machine] = []

    def run(self) -> int:
        """The exit code of the command: 0, or that of the first rank that failed. Raises VltkError where a host of the
        first start cannot be reached."""
        previous = {number: signal.signal(number, self._remember) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            return self._run()
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _run(self) -> int:
        hosts, extra = self.hosts, list[str]()
        for start in range(self.restarts + 1):
            try:
                failure = self._once(hosts, extra, patient=start > 0)
            finally:
                for one in self._machines:
                    one.end()
            if failure is None:
                return 0
            if text := failure.told():
                print(text, file=sys.stderr, flush=True)
            if self.asked_at is not None or failure.kind not in MENDED_BY_A_START or start == self.restarts:
                return failure.code
            self._wait_for_the_lost()
            if self.asked_at is not None:
                return failure.code
            hosts, extra = self._left()
            ranks = sum(host.slots for host in hosts)
            names = ", ".join(host.name for host in hosts)
            print(f"start {start + 1} of at most {self.restarts} again: {ranks} ranks on {names}", flush=True)
        raise AssertionError

    def _once(self, hosts: Sequence[Host], extra: list[str], patient: bool) -> Failure | None:
        """Until all ranks have ended, or some GRACE after the first of them that failed; how that one did."""
        if not patient:
            self._machines = self._reached(hosts)
        self._start(hosts, extra)
        failed_at = None
        while True:
            self._pass_on()
            done = [one.poll() for one in self._machines]  # each of them, so that each is heard
            failures = [failure for one in self._machines for failure in one.failures]
            now = time.monotonic()
            if failures and failed_at is None:
                failed_at = now
            if all(done):
                return first(failures) if failures else None
            if self._too_long(failures, failed_at, now):
                return first(failures) if failures else self._stuck(hosts)
            time.sleep(POLL)

    def _too_long(self, failures: list[Failure], failed_at: float | None, now: float) -> bool:
        """A rank that was told to stop may take long to save; others end soon after the first that failed."""
        if failed_at is not None and any(failure.kind != "stopped" for failure in failures):
            return now - failed_at > GRACE
        return self.asked_at is not None and now - self.asked_at > PATIENCE

    def _stuck(self, hosts: Sequence[Host]) -> Failure:
        text = f"did not stop within {PATIENCE} seconds and was ended"
        return Failure(-1, hosts[0].name, "lost", text, 128 + signal.SIGTERM, time.time())

    def _start(self, hosts: Sequence[Host], extra: list[str]) -> None:
        world, before = sum(host.slots for host in hosts), 0
        address = "localhost" if len(hosts) == 1 else hosts[0].name
        port = _port() or self._machines[0].port()
        for host, one in zip(hosts, self._machines, strict=True):
            one.start(Share(host.name, before, host.slots, world, address, port), [*self.arguments, *extra])
            before += host.slots

    def _reached(self, hosts: Sequence[Host]) -> list[Machine]:
        """All of the hosts, ready; VltkError names those that are not."""
        found = self._asked(hosts)
        lost = [failure.told() for one in found for failure in one.failures]
        if lost:
            for one in found:
                one.end()
            raise VltkError("\n".join(lost))
        return found

    def _left(self) -> tuple[list[Host], list[str]]:
        """The hosts that answer, with as many slots as can share the work; their machines are ready then."""
        found = [one for one in self._asked(self.hosts) if not one.failures]
        slots, extra = sum(one.host.slots for one in found), list[str]()
        if self.elastic is not None:
            slots, extra = self.elastic(self.world, slots)
        hosts = list[Host]()
        self._machines = []
        for one in found:
            taken = min(one.host.slots, slots)
            slots -= taken
            if taken:
                hosts.append(Host(one.host.name, taken))
                self._machines.append(one)
            else:
                one.end()
        if not hosts:
            raise VltkError("no host is left to go on with")
        return hosts, extra

    def _asked(self, hosts: Sequence[Host]) -> list[Machine]:
        """Each host once it has answered, or with a failure."""
        found = [machine(host) for host in hosts]
        deadline = time.monotonic() + HELLO
        while time.monotonic() < deadline and not all(one.ready() or one.poll() for one in found):
            time.sleep(POLL)
        for one in found:
            if not one.ready() and not one.failures:
                text = f"did not answer within {HELLO:.0f} seconds"
                one.failures.append(Failure(-1, one.host.name, "lost", text, 1, time.time()))
        return found

    def _wait_for_the_lost(self) -> None:
        """What was cut off ends its ranks by itself once it has heard nothing for SILENCE: they must not write beside
        those that are started now."""
        if any(failure.rank < 0 for one in self._machines for failure in one.failures):
            seconds = SILENCE + GRACE
            print(f"{seconds:.0f} seconds until the ranks that were cut off have ended (Ctrl-C: stop here)", flush=True)
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline and self.asked_at is None:
                time.sleep(POLL)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self.asked_at = self.asked_at or time.monotonic()
        self._signals.append(number)

    def _pass_on(self) -> None:
        """Signals that came since, to every rank."""
        while self._signals:
            number = self._signals.pop(0)
            for one in self._machines:
                one.signal(number)


def _port() -> int:
    """That of MASTER_PORT; 0 where any will do."""
    said = os.environ.get("MASTER_PORT", "0")
    if not said.isdecimal() or int(said) > 65535:
        raise VltkError(f"MASTER_PORT={said}: a port is a number up to 65535; 0, or none, for a free one")
    return int(said)


def spread(hosts: Sequence[Host], arguments: Sequence[str], restarts: int = 0, elastic: Elastic | None = None) -> int:
    """Runs `vltk ARGUMENTS` on every slot of the hosts as one group; the exit code of the first rank that failed."""
    return Spread(hosts, arguments, restarts, elastic).run()
