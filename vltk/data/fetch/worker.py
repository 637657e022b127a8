"""What runs in each of img2dataset's workers: its own downloader, with every URL sent to the guarding proxy.

https URLs go to the proxy as they are, in the request line, so that it sees what it guards; no other scheme has a
handler. img2dataset is extended at three names of its `main`: `Downloader`, `Reader`, `multiprocessing_distributor`.
"""

from __future__ import annotations

import atexit
import http.client
import tempfile
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from img2dataset.downloader import Downloader

from vltk.data.fetch.policy import FetchError, Policy, quoted
from vltk.data.fetch.proxy import Proxy


class ToProxy(urllib.request.AbstractHTTPHandler):
    """urllib's handler of http and https: the whole URL in the request line, to the proxy."""

    def __init__(self, proxy: str) -> None:
        super().__init__()
        self.proxy = proxy

    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        try:
            url = quoted(request.full_url)
        except FetchError as error:
            raise ValueError(f"vltk {error.status} {error.detail}") from None
        ask = urllib.request.Request(self.proxy)
        ask.selector, ask.timeout = url, request.timeout
        answer: http.client.HTTPResponse = self.do_open(http.client.HTTPConnection, ask)
        return answer

    https_open = http_open


def send_through(proxy: str) -> None:
    """From now on urllib.request.urlopen knows http and https alone, both through the proxy; it follows nothing."""
    opener = urllib.request.OpenerDirector()
    opener.addheaders = []
    for handler in (
        ToProxy(proxy),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    urllib.request.install_opener(opener)


class Worker(Downloader):
    """img2dataset's downloader behind the proxy.

    On another machine (Spark, Ray: `proxy` is None) each worker process starts a proxy of its own.
    """

    own: Proxy | None = None

    def __init__(self, proxy: str | None, policy: Policy, **options: Any) -> None:
        super().__init__(**options)
        self.proxy, self.policy = proxy, policy

    def __call__(self, row: tuple[int, str]) -> tuple[bool, tuple[int, str]]:
        send_through(self.proxy or _own_proxy(self.policy))
        done: tuple[bool, tuple[int, str]] = super().__call__(row)
        return done


def _own_proxy(policy: Policy) -> str:
    """The proxy of this process, started at the first call; its end, and its log's, is that of the process."""
    if Worker.own is None:
        life = ExitStack()
        folder = life.enter_context(tempfile.TemporaryDirectory(prefix="vltk-proxy-"))
        Worker.own = life.enter_context(Proxy(policy, Path(folder) / "proxy.jsonl"))
        atexit.register(life.close)
    return Worker.own.url
