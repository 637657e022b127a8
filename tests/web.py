"""A loopback web server with every bad case of the data notes: what to ask for, and how each must end.

    with Web() as web:
        web.good(7)            # URL of a good picture, another for each number
        web.cases()            # list of Case: name, url, status after the download, status after packing
        web.requests["/404"]   # how often a path was asked for

`status` is what `vltk.data.fetch.outcomes` gives, `packed` what stands in the rows parquet once the bytes were checked.
Private addresses must be open for the server alone: `Policy(private_hosts=web.hosts)`. Not among the cases, as it
silences the whole host: `/429-long`, which asks for an hour of quiet.
"""

from __future__ import annotations

import gzip
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

from tests.web_bodies import BODIES, HTML, body_of, good
from tests.web_cases import SERVED, Case, unserved

GOOD_POOL = 50  # different good pictures
HANG = 60.0  # seconds; a test's deadline must be far below


HEADERS = {
    "noai": ("X-Robots-Tag", "noai, noimageai"),
    "noml": ("X-Robots-Tag", "noml"),
    "robots-vltk": ("X-Robots-Tag", "vltk: noindex"),
    "robots-other": ("X-Robots-Tag", "otherbot: noindex"),
    "tdm": ("tdm-reservation", "1"),
}
REDIRECTS = {
    "redirect": "{url}/good/30.jpg",
    "redirect-relative": "good/31.jpg",
    "redirect-self": "{url}/redirect-self",
    "redirect-file": "file:///etc/hostname",
    "redirect-private": "http://10.0.0.1/picture.jpg",
    "redirect-broken": "http://[x",
    "redirect-metadata": "http://169.254.169.254/latest/meta-data/",
}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        from urllib.parse import unquote

        path, _, query = self.path.partition("?")
        name = unquote(path).strip("/")
        with self.server.lock:
            self.server.requests[path] += 1
            self.server.agents.add(self.headers.get("User-Agent", ""))
        self.close_connection = True
        with suppress(BrokenPipeError, ConnectionResetError):  # the other side has seen enough
            self._answer(name, query)

    def _answer(self, name: str, query: str) -> None:
        special = getattr(self, f"_{name.replace('-', '_')}", None)
        if self.server.everything is not None:
            self._send(self.server.everything)
        elif name.startswith("good/"):
            self._good(int(name.removeprefix("good/").removesuffix(".jpg")))
        elif name in BODIES:
            self._send(self.server.body(name), [HEADERS[name]] if name in HEADERS else [])
        elif name in REDIRECTS:
            self._to(REDIRECTS[name].format(url=self.server.url))
        elif name in ("redirect-query", "redirect-slowly"):
            time.sleep(0.4 if name == "redirect-slowly" else 0)
            self._to(f"{self.server.url}/{name}?{int(query or 0) + 1}")
        elif special is not None:
            special()
        elif name.isdigit():
            self._fail(int(name))
        else:
            self._fail(404)

    def _good(self, number: int) -> None:
        with self.server.counted():  # until the answer goes out: with its last byte the next request may already come
            time.sleep(self.server.delay)
        self._send(self.server.body(number % GOOD_POOL))

    def _send(self, body: bytes, headers: list[tuple[str, str]] | None = None, status: int = 200) -> None:
        self._head([("Content-Length", str(len(body))), *(headers or [])], status)
        self.wfile.write(body)

    def _head(self, headers: list[tuple[str, str]], status: int = 200) -> None:
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()

    def _fail(self, status: int, headers: list[tuple[str, str]] | None = None) -> None:
        self._send(HTML, headers, status)

    def _to(self, place: str) -> None:
        self._fail(302, [("Location", place)])

    def _drip(self, pieces: Iterator[bytes], pause: float) -> None:
        """Bytes one after another until the other side has gone or the server stops."""
        until = time.monotonic() + HANG
        for piece in pieces:
            self.wfile.write(piece)
            self.wfile.flush()
            if self.server.stopping.wait(pause) or time.monotonic() > until:
                return

    def _429_long(self) -> None:
        self._fail(429, [("Retry-After", "3600")])

    def _retry_after_odd(self) -> None:
        self._fail(429, [("Retry-After", "\u00b2")])  # a digit, and no number

    def _retry_after_year(self) -> None:
        self._fail(503, [("Retry-After", f"Mon, 01 Jan {'9' * 30} 00:00:00 GMT")])

    def _503_always(self) -> None:
        self._fail(503)

    def _503_once(self) -> None:
        if self.server.requests[self.path] == 1:
            self._fail(503, [("Retry-After", "1")])
        else:
            self._send(good(32))

    def _hang(self) -> None:
        self.server.stopping.wait(HANG)

    def _slow(self) -> None:
        body = good(33)
        self._head([("Content-Length", str(len(body)))])
        self._drip((body[at : at + 1] for at in range(len(body))), 0.2)

    def _slow_headers(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        self._drip((b"X" for _ in range(10_000)), 0.2)

    def _endless_headers(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        self._drip((b"X-Filler: " + b"x" * 4000 + b"\r\n" for _ in range(10_000)), 0)

    def _short(self) -> None:
        body = good(34)
        self._head([("Content-Length", str(len(body) + 1000))])
        self.wfile.write(body)

    def _short_chunked(self) -> None:
        self._head([("Transfer-Encoding", "chunked")])
        self.wfile.write(b"400\r\n" + good(34)[:500])

    def _chunked(self) -> None:
        body = good(35)
        self._head([("Transfer-Encoding", "chunked")])
        for at in range(0, len(body), 1000):
            part = body[at : at + 1000]
            self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
        self.wfile.write(b"0\r\n\r\n")

    def _closes(self) -> None:
        return

    def _not_http(self) -> None:
        self.wfile.write(b"SSH-2.0-OpenSSH_9.6\r\n")

    def _endless(self) -> None:
        self._head([])
        self._drip((bytes(2**16) for _ in range(5000)), 0)  # 300 MB of zeros

    def _announced_large(self) -> None:
        self._head([("Content-Length", str(10**10))])
        self.wfile.write(bytes(1000))

    def _gzip(self) -> None:
        self._send(gzip.compress(good(36)), [("Content-Encoding", "gzip")])

    def _gzip_bomb(self) -> None:
        self._send(self.server.body("zeros"), [("Content-Encoding", "gzip")])

    def _redirect_nowhere(self) -> None:
        self._fail(302)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


class _Server(ThreadingHTTPServer):
    daemon_threads, request_queue_size, block_on_close = True, 512, False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.requests: Counter[str] = Counter()
        self.agents: set[str] = set()
        self.lock, self.stopping = threading.Lock(), threading.Event()
        self.everything: bytes | None = None
        self.delay = 0.0
        self.at_once = self.most_at_once = 0
        self.made: dict[str | int, bytes] = {}

    @contextmanager
    def counted(self) -> Iterator[None]:
        """One more answer at once while the context lasts."""
        with self.lock:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        yield
        with self.lock:
            self.at_once -= 1

    def body(self, name: str | int) -> bytes:
        """The bytes of a picture, kept once made."""
        if name not in self.made:
            self.made[name] = body_of(name)
        return self.made[name]


class Web:
    """The server, as a context; each context counts its own requests."""

    def __init__(self) -> None:
        self._server = _Server()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.closed_port = int(free.getsockname()[1])
        self.port, self.url = self._server.server_port, self._server.url
        self.hosts = (f"127.0.0.1:{self.port}", f"127.0.0.1:{self.closed_port}")

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stopping.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def requests(self) -> Counter[str]:
        """How often each path was asked for, query left out."""
        return self._server.requests

    @property
    def agents(self) -> set[str]:
        """The user agents that were seen."""
        return self._server.agents

    @property
    def most_at_once(self) -> int:
        """The largest number of good pictures that were being answered at a time."""
        return self._server.most_at_once

    def good(self, number: int) -> str:
        """URL of a good picture; GOOD_POOL different ones, any number of URLs."""
        return f"{self.url}/good/{number}.jpg"

    def slow_down(self, seconds: float) -> None:
        """Every good picture takes this long from now on."""
        self._server.delay = seconds

    def answer_everything(self, body: bytes | None = HTML) -> None:
        """One body for every path, as a captive portal or a proxy does; None ends it."""
        self._server.everything = body

    def cases(self) -> list[Case]:
        """Every odd case once: served ones, odd URLs, and rows that never reach a server."""
        served = [Case(name, f"{self.url}/{name}", *ends) for name, ends in SERVED.items()]
        odd = [
            Case("space", f"{self.url}/pic ture", "ok", "ok"),
            Case("non-ascii", f"{self.url}/bäume/größe", "ok", "ok"),
            Case("fragment", f"{self.url}/good/40.jpg#top", "ok", "ok"),
        ]
        return served + odd + unserved(self.port, self.closed_port)
