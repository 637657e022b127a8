"""Turns at each host: few at once, none while it asks for quiet (Retry-After), none for a while when it is dead."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from vltk.data.fetch.policy import FetchError, Policy
from vltk.data.statuses import Status

DEAD_AFTER = 20  # failures to connect or to answer, in a row
DEAD_FOR = 60.0  # seconds; then it is tried again
LONGEST_PAUSE = 3600.0  # seconds; a larger Retry-After is not believed
KNOWN = 50_000  # hosts kept in memory


class Host:
    """What is known of one host:port."""

    def __init__(self, per_host: int) -> None:
        self.slots = asyncio.Semaphore(per_host)
        self.users = self.failures = 0
        self.until = 0.0  # no request before this
        self.reason = FetchError(Status.http_429)

    def pause(self, seconds: float, reason: FetchError) -> None:
        """No request for some seconds; who cannot wait so long gets the reason."""
        until = time.monotonic() + min(seconds, LONGEST_PAUSE)
        if until > self.until:
            self.until, self.reason = until, reason

    def failed(self, error: FetchError) -> None:
        """A request that got no answer. Too many in a row, and the host counts as dead for a while."""
        self.failures += 1
        if self.failures >= DEAD_AFTER:
            self.pause(DEAD_FOR, FetchError(error.status, f"not asked: {self.failures} failures in a row before"))

    def answered(self) -> None:
        self.failures = 0


class Hosts:
    """All hosts of a fetch; names are "host:port"."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.known: dict[str, Host] = {}

    @asynccontextmanager
    async def turn(self, name: str) -> AsyncIterator[Host]:
        """Waits for a turn at the host. Raises FetchError when that takes too long, with the host's reason."""
        host = self._host(name)
        host.users += 1
        try:
            await self._quiet(host)
            async with self._slot(host):
                await self._quiet(host)
                yield host
        finally:
            host.users -= 1

    @asynccontextmanager
    async def _slot(self, host: Host) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self.policy.queue):
                await host.slots.acquire()
        except TimeoutError:
            raise FetchError(Status.timeout, f"no turn at this host within {self.policy.queue:g} s") from None
        try:
            yield
        finally:
            host.slots.release()

    async def _quiet(self, host: Host) -> None:
        """Waits while the host is paused; raises the reason when that is longer than the policy's patience."""
        while (left := host.until - time.monotonic()) > 0:
            if left > self.policy.patience:
                raise FetchError(host.reason.status, host.reason.detail)  # a new one: each raise adds to its traceback
            await asyncio.sleep(left)

    def _host(self, name: str) -> Host:
        if name not in self.known and len(self.known) >= KNOWN:
            now = time.monotonic()
            self.known = {key: host for key, host in self.known.items() if host.users or host.until > now}
        return self.known.setdefault(name, Host(self.policy.per_host))
