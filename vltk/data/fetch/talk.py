"""One HTTP/1.1 exchange over an open connection, in the grammar of h11."""

from __future__ import annotations

import asyncio
from urllib.parse import SplitResult

import h11

from vltk.data.fetch.answer import Body
from vltk.data.fetch.policy import Policy

MAX_HEAD = 64 * 2**10  # bytes of an answer's headers


class Talk:
    """One HTTP/1.1 exchange over an open connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.state = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
        self.ended = self.begun = False

    async def ask(self, parts: SplitResult, policy: Policy) -> None:
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        headers = {
            "Host": parts.netloc,
            "User-Agent": policy.user_agent,
            "Accept": "image/*, */*;q=0.5",
            "Accept-Encoding": "identity",
            "Connection": "close",
        }
        request = self.state.send(h11.Request(method="GET", target=target, headers=list(headers.items())))
        self.writer.write((request or b"") + (self.state.send(h11.EndOfMessage()) or b""))
        await self.writer.drain()

    async def head(self) -> h11.Response:
        """The answer's head. Raises h11.RemoteProtocolError."""
        while not isinstance(event := await self._next(), h11.Response):
            pass  # 1xx: more is to come
        return event

    async def body(self, body: Body) -> Body:
        """The body, read to its end. Raises FetchError, h11.RemoteProtocolError."""
        try:
            while isinstance(event := await self._next(), h11.Data):
                body.add(bytes(event.data))
            body.finish()
        except BaseException:
            body.file.close()
            raise
        return body

    async def _next(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        while (event := self.state.next_event()) is h11.NEED_DATA:
            data = await self.reader.read(2**16)
            self.ended = not data
            if not self.begun:
                _check_start(data)
            self.begun = True
            self.state.receive_data(data)
        return event


def _check_start(data: bytes) -> None:
    if not data:
        raise h11.RemoteProtocolError("the host closed the connection without an answer")
    if not data.startswith(b"HTTP/"[: len(data)]):
        raise h11.RemoteProtocolError("the host does not speak HTTP")
