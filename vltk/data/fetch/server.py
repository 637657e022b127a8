"""The proxy's own process: `python -m vltk.data.fetch.server`, policy as a JSON line on stdin, port on stdout."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import h11

from vltk.data.fetch.answer import Body
from vltk.data.fetch.client import Client
from vltk.data.fetch.lifeline import end_with
from vltk.data.fetch.policy import FetchError, Policy
from vltk.data.statuses import Status

LOG_BYTES = 64 * 2**20
HEAD_WAIT = 30.0  # seconds for the request line and headers
BACKLOG = 1024
# what the status looks like as an HTTP code, for other programs than ours
CODES = {
    Status.http_403: 403,
    Status.http_404: 404,
    Status.http_410: 410,
    Status.http_429: 429,
    Status.http_4xx: 400,
    Status.private_address: 403,
    Status.opted_out: 451,
    Status.bad_url: 400,
    Status.bad_scheme: 400,
    Status.no_url: 400,
    Status.too_large: 413,
    Status.redirect_loop: 508,
    Status.timeout: 504,
    Status.too_slow: 504,
}


class Log:
    """JSON lines, flushed one by one; a full file is put aside, one old file is kept."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = path.open("a", encoding="utf-8", buffering=1)

    def write(self, row: dict[str, Any]) -> None:
        self.file.write(json.dumps(row) + "\n")
        if self.file.tell() > LOG_BYTES:
            self.file.close()
            os.replace(self.path, self.path.with_name(f"{self.path.name}.1"))
            self.file = self.path.open("a", encoding="utf-8", buffering=1)


class Server:
    """Answers one request a connection."""

    def __init__(self, policy: Policy, log: Log) -> None:
        self.policy, self.log = policy, log
        self.client = Client(policy)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), suppress(OSError):  # the one who asked is gone
            try:
                request, early = await self._request(reader)
            except (h11.RemoteProtocolError, TimeoutError) as error:
                await self._say(writer, FetchError(Status.bad_url, f"no request: {error}"))
                return
            target = request.target.decode("latin-1")
            if request.method == b"CONNECT":
                await self._tunnel(target, early, reader, writer)
            else:
                await self._plain(request.method, target, writer)

    async def _request(self, reader: asyncio.StreamReader) -> tuple[h11.Request, bytes]:
        """The request, and bytes that came behind it."""
        state = h11.Connection(h11.SERVER)
        async with asyncio.timeout(HEAD_WAIT):
            while (event := state.next_event()) is h11.NEED_DATA:
                state.receive_data(await reader.read(2**16))
        if not isinstance(event, h11.Request):
            raise h11.RemoteProtocolError("no request")
        return event, state.trailing_data[0]

    async def _plain(self, method: bytes, target: str, writer: asyncio.StreamWriter) -> None:
        """A URL in the request line: fetched whole, noted, answered."""
        row, begun = {"url": target[:2000]}, time.monotonic()
        try:
            if method != b"GET":
                raise FetchError(Status.unknown_failure, "only GET goes through this proxy")
            body = await self._got(target)
        except FetchError as error:
            self._note(row, begun, error)
            await self._say(writer, error)
            return
        with body.file:
            self._note(row, begun, count=body.size)
            await self._send(body, writer)

    async def _got(self, url: str) -> Body:
        """The body of a URL. Raises FetchError, whatever it is that a host makes fail: each request is answered."""
        try:
            return await self.client.get(url)
        except FetchError:
            raise
        except Exception as error:
            raise FetchError(Status.unknown_failure, f"{type(error).__name__}: {error}"[:200]) from error

    def _note(self, row: dict[str, str], begun: float, error: FetchError | None = None, count: int = 0) -> None:
        end = {"status": error.status, "detail": error.detail} if error else {"status": Status.ok}
        self.log.write({**row, **end, "bytes": count, "seconds": round(time.monotonic() - begun, 3)})

    async def _say(self, writer: asyncio.StreamWriter, error: FetchError) -> None:
        reason = f"vltk {error.status} {error.detail}"[:300]
        plain = "".join(sign if " " <= sign <= "~" else "?" for sign in reason)
        code = CODES.get(error.status, 502)
        writer.write(f"HTTP/1.1 {code} {plain}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()

    async def _send(self, body: Body, writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {body.size}\r\nConnection: close\r\n\r\n".encode())
        while part := body.file.read(2**18):
            writer.write(part)
            await writer.drain()

    async def _tunnel(
        self, target: str, early: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """CONNECT: bytes both ways, to an address that was checked."""
        row, begun = {"host": target[:300]}, time.monotonic()
        try:
            host, port = _place(target)
            async with self.client.hosts.turn(f"{host}:{port}"), self.client.open:
                far_reader, far_writer = await self.client.connect(host, port, tls=False)
                with closing(far_writer):
                    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
                    far_writer.write(early)
                    count = await self._both_ways(reader, writer, far_reader, far_writer)
            self._note(row, begun, count=count)
        except FetchError as error:
            self._note(row, begun, error)
            await self._say(writer, error)

    async def _both_ways(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        far_reader: asyncio.StreamReader,
        far_writer: asyncio.StreamWriter,
    ) -> int:
        """Bytes until either side ends, the deadline, or the limit; what came from afar is counted."""
        up = asyncio.create_task(_pump(reader, far_writer, self.policy.max_bytes))
        down = asyncio.create_task(_pump(far_reader, writer, self.policy.max_bytes))
        try:
            await asyncio.wait({up, down}, timeout=self.policy.deadline, return_when=asyncio.FIRST_COMPLETED)
        finally:
            up.cancel()
            down.cancel()
            counts = await asyncio.gather(up, down, return_exceptions=True)
        return counts[1] if isinstance(counts[1], int) else 0


def _place(target: str) -> tuple[str, int]:
    host, _, port = target.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 2**16:
        raise FetchError(Status.bad_url, f"no host and port: {target[:60]}")
    return host.strip("[]"), int(port)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limit: int) -> int:
    count = 0
    while count <= limit and (data := await reader.read(2**16)):
        count += len(data)
        writer.write(data)
        await writer.drain()
    return count


async def _run(policy: Policy, log: Path) -> None:
    server = await asyncio.start_server(Server(policy, Log(log)).serve, "127.0.0.1", 0, backlog=BACKLOG)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    given = json.loads(sys.stdin.readline())
    end_with(given["parent"])
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    lists = {name: tuple(value) for name, value in given["policy"].items() if isinstance(value, list)}
    asyncio.run(_run(Policy(**{**given["policy"], **lists}), Path(given["log"])))


if __name__ == "__main__":
    main()
