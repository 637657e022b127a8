"""Opening URLs from this process: http and https only, at every redirect, to addresses that were checked."""

from __future__ import annotations

import http.client
import socket
import ssl
import urllib.request
from typing import Any
from urllib.parse import urlsplit

from vltk.data.fetch.addresses import resolve
from vltk.data.fetch.policy import Policy, quoted


def request(url: str, policy: Policy, headers: dict[str, str]) -> urllib.request.Request:
    """A request with our user agent. Raises FetchError for what is no http(s) URL."""
    return urllib.request.Request(quoted(url), headers={"User-Agent": policy.user_agent, **headers})


def opener(policy: Policy) -> urllib.request.OpenerDirector:
    """Opens http and https alone; the proxies of the environment are used, and may have a private address."""
    made = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
        _Http(policy),
        _Https(policy),
    ):
        made.add_handler(handler)
    return made


class _Http(urllib.request.HTTPHandler):
    def __init__(self, policy: Policy) -> None:
        super().__init__()
        self.policy = policy

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        def connection(host: str, **options: Any) -> http.client.HTTPConnection:
            return _checked(http.client.HTTPConnection(host, **options), self.policy)

        return self.do_open(connection, req)


class _Https(urllib.request.HTTPSHandler):
    def __init__(self, policy: Policy) -> None:
        super().__init__()
        self.policy = policy

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        def connection(host: str, **options: Any) -> http.client.HTTPConnection:
            made = http.client.HTTPSConnection(host, context=ssl.create_default_context(), **options)
            return _checked(made, self.policy)

        return self.do_open(connection, req)


def _checked(connection: http.client.HTTPConnection, policy: Policy) -> http.client.HTTPConnection:
    """The connection, which connects to an address that was looked up and checked by us."""

    def create(address: tuple[str, int], timeout: float | None, source: Any = None) -> socket.socket:
        host, port = address
        trusted = policy.private(host, port) or host in _proxies()
        reason: OSError | None = None
        for place in resolve(host, port, trusted):
            try:
                return socket.create_connection(place, timeout, source)
            except OSError as error:
                reason = error
        raise reason or OSError(f"{host}: no address")

    connection._create_connection = create  # type: ignore[attr-defined]
    return connection


def _proxies() -> set[str | None]:
    return {urlsplit(url).hostname for url in urllib.request.getproxies().values()}
