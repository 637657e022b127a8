"""One URL fetched within the policy: names resolved and checked here, redirects followed here, one deadline for all."""

from __future__ import annotations

import asyncio
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

import h11

from vltk.data.fetch import answer
from vltk.data.fetch.addresses import Sockaddr, resolve
from vltk.data.fetch.answer import Body
from vltk.data.fetch.hosts import Host, Hosts
from vltk.data.fetch.policy import FetchError, Policy, followed, quoted
from vltk.data.fetch.talk import Talk
from vltk.data.statuses import Status

CONNECT = 10.0  # seconds for one address of several
ADDRESSES = 3  # addresses of a host that are tried
RESOLVERS = 64  # names resolved at once
NAMES_FOR, NAMES = 300.0, 20_000  # seconds, and how many names are kept
NO_ANSWER = (Status.dns, Status.refused, Status.timeout)


@dataclass
class Clock:
    """The time left for a URL, without the waits for turns; and whether a body was being read when it ran out."""

    left: float
    reading: bool = False


class Client:
    """Fetches URLs; lives in one event loop."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.hosts = Hosts(policy)
        self.open = asyncio.Semaphore(policy.connections)
        self.tls = ssl.create_default_context()
        self.resolvers = ThreadPoolExecutor(RESOLVERS)
        self.names: dict[tuple[str, int], tuple[float, list[Sockaddr]]] = {}

    async def get(self, url: str) -> Body:
        """The body at the end of all redirects. Raises FetchError."""
        clock, seen = Clock(self.policy.deadline), set[str]()
        url = quoted(url)
        while url not in seen:
            seen.add(url)
            if len(seen) > self.policy.max_redirects + 1:
                raise FetchError(Status.redirect_loop, f"more than {self.policy.max_redirects} redirects")
            found = await self._patient(url, clock)
            if isinstance(found, Body):
                return found
            url = followed(url, found)
        raise FetchError(Status.redirect_loop, f"back at {url[:200]}")

    async def _patient(self, url: str, clock: Clock) -> Body | str:
        """Asks a second time when the host said how soon (Retry-After within the policy's patience)."""
        try:
            return await self._turn(url, clock)
        except _Later as later:
            if later.wait is None or later.wait > self.policy.patience:
                raise
        return await self._turn(url, clock)  # waits for the end of the pause first

    async def _turn(self, url: str, clock: Clock) -> Body | str:
        parts = urlsplit(url)
        async with self.hosts.turn(f"{parts.hostname}:{port_of(parts)}") as host, self.open:
            begun = time.monotonic()
            try:
                async with asyncio.timeout(clock.left):
                    found = await self._ask(parts, host, clock)
                host.answered()
            except TimeoutError:
                status = Status.too_slow if clock.reading else Status.timeout
                error = FetchError(status, f"not complete after {self.policy.deadline:g} s")
                if not clock.reading:
                    host.failed(error)
                raise error from None
            except FetchError as error:
                host.failed(error) if error.status in NO_ANSWER else host.answered()
                raise
            finally:
                clock.left = max(0.1, clock.left - (time.monotonic() - begun))
            return found

    async def _ask(self, parts: SplitResult, host: Host, clock: Clock) -> Body | str:
        reader, writer = await self.connect(parts.hostname or "", port_of(parts), parts.scheme == "https")
        with closing(writer):
            talk = Talk(reader, writer)
            try:
                await talk.ask(parts, self.policy)
                head = await talk.head()
                return await self._judge(head, talk, host, clock)
            except (h11.RemoteProtocolError, OSError) as error:
                status = Status.cut_short if talk.ended or isinstance(error, OSError) else Status.unknown_failure
                raise FetchError(status, str(error)[:200]) from None

    async def _judge(self, head: h11.Response, talk: Talk, host: Host, clock: Clock) -> Body | str:
        headers = list(head.headers)
        if head.status_code in answer.REDIRECTS:
            target = answer.header(headers, "location")
            if not target:
                raise FetchError(Status.unknown_failure, f"HTTP {head.status_code} without a target")
            return target
        if head.status_code in (429, 503):
            raise _later(head.status_code, headers, host)
        if not 200 <= head.status_code < 300:
            raise FetchError(answer.of_code(head.status_code), f"HTTP {head.status_code}")
        answer.check_opt_out(headers, self.policy)
        clock.reading = True
        return await talk.body(Body(headers, self.policy.max_bytes))

    async def connect(self, host: str, port: int, tls: bool) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to an address that was checked. Raises FetchError: dns, private_address, refused."""
        problem: Exception = FetchError(Status.dns)
        for address, number in (await self._addresses(host, port))[:ADDRESSES]:
            try:
                async with asyncio.timeout(CONNECT):
                    return await asyncio.open_connection(
                        address, number, ssl=self.tls if tls else None, server_hostname=host if tls else None
                    )
            except TimeoutError:
                problem = FetchError(Status.timeout, f"{host}: no connection within {CONNECT:g} s")
            except (OSError, ValueError) as error:
                problem = FetchError(Status.refused, f"{host}: {error}"[:200])
        raise problem

    async def _addresses(self, host: str, port: int) -> list[Sockaddr]:
        until, found = self.names.get((host, port), (0.0, []))
        if until < time.monotonic():
            private, loop = self.policy.private(host, port), asyncio.get_running_loop()
            found = await loop.run_in_executor(self.resolvers, resolve, host, port, private)
            if len(self.names) >= NAMES:
                self.names.clear()
            self.names[host, port] = time.monotonic() + NAMES_FOR, found
        return found


class _Later(FetchError):
    """The host is busy; `wait` is what it asks for, in seconds."""

    wait: float | None = None


def _later(code: int, headers: answer.Headers, host: Host) -> _Later:
    error = _Later(answer.of_code(code), f"HTTP {code}")
    error.wait = answer.retry_after(headers)
    if error.wait is not None:
        host.pause(error.wait, FetchError(error.status, f"not asked: HTTP {code} and Retry-After before"))
    return error


def port_of(parts: SplitResult) -> int:
    return parts.port or (443 if parts.scheme == "https" else 80)
