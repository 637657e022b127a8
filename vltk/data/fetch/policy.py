"""What a fetch may do to the web: limits, manners, and URLs written in the one way that is sent."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import SplitResult, quote, urljoin, urlsplit

import vltk
from vltk.data.statuses import Status

OPT_OUT = ("noai", "noimageai", "noindex", "noimageindex", "noml", "none")  # X-Robots-Tag; `none` is noindex, nofollow
SAFE = "!#$%&'()*+,/:;=?@[]~"  # not quoted in a path or a query: RFC 3986, and % for what is quoted already


class FetchError(Exception):
    """One URL that gives no bytes: a status of `vltk.data.statuses`, and a detail for people."""

    def __init__(self, status: Status, detail: str = "") -> None:
        self.status, self.detail = status, detail
        super().__init__(f"{status}: {detail}" if detail else str(status))


def agent(contact: str = "") -> str:
    """The user agent: what asks, in which version, and whom to write to (a mail address or a web page)."""
    about = f"+{contact}" if contact else "image-text data sets for research"
    return f"vltk/{vltk.__version__} ({about})"


@dataclass(frozen=True)
class Policy:
    """Limits of each request, whole chain of redirects included; seconds and bytes.

    `allow_private` opens private and loopback addresses; `private_hosts` ("host:port") opens some of them only.
    `connections` and `per_host` bound what is open at once; `patience` is the longest wait that a busy host is given
    (Retry-After) before its URLs are put off to the next round, `queue` the longest wait for a turn at a host.
    """

    allow_private: bool = False
    private_hosts: tuple[str, ...] = ()
    deadline: float = 30.0
    max_bytes: int = 20 * 2**20
    max_redirects: int = 5
    user_agent: str = agent()
    connections: int = 256
    per_host: int = 16
    patience: float = 10.0
    queue: float = 120.0
    opt_out: tuple[str, ...] = OPT_OUT

    def private(self, host: str, port: int) -> bool:
        """Whether this host may have a private address."""
        return self.allow_private or f"{host}:{port}" in self.private_hosts


def quoted(url: str | None) -> str:
    """The URL as it is sent: IRIs quoted, spaces as %20, host in IDNA, no fragment; equal for what is quoted already.

    Raises FetchError: no_url, bad_scheme (neither http nor https), bad_url (no host, a user name, a port that is none).
    """
    text = re.sub(r"[\t\r\n]", "", (url or "").strip())  # as browsers do
    if not text:
        raise FetchError(Status.no_url)
    try:
        text.encode()  # half a surrogate pair is no text
        parts = urlsplit(text)
        host, port = _host(parts), parts.port
    except ValueError as error:
        raise FetchError(Status.bad_url, str(error)) from None
    colon = f":{port}" if port is not None else ""
    query = f"?{_quote(parts.query)}" if parts.query else ""
    return f"{parts.scheme.lower()}://{host}{colon}{_quote(parts.path) or '/'}{query}"


def followed(url: str, place: str) -> str:
    """Where a redirect from `url` to `place` leads, as it is sent. Raises FetchError as `quoted` does."""
    try:
        target = urljoin(url, place)
    except ValueError as error:
        raise FetchError(Status.bad_url, f"redirected to {place[:100]}: {error}") from None
    return quoted(target)


def _host(parts: SplitResult) -> str:
    if parts.scheme.lower() not in ("http", "https"):
        raise FetchError(Status.bad_scheme, f"{parts.scheme[:20]}:" if parts.scheme else "no scheme")
    if not parts.hostname or parts.port == 0:
        raise FetchError(Status.bad_url, "no host" if not parts.hostname else "port 0")
    if "@" in parts.netloc:
        raise FetchError(Status.bad_url, "a user name in the URL")
    if ":" in parts.hostname:
        return f"[{parts.hostname}]"
    host = parts.hostname if parts.hostname.isascii() else parts.hostname.encode("idna").decode()
    if not re.fullmatch(r"[A-Za-z0-9._~-]+", host):
        raise FetchError(Status.bad_url, f"no host name: {host[:60]}")
    return host


def _quote(text: str) -> str:
    """Percent-encoding of what may not stand in a URL; a lone percent sign too."""
    lone = re.sub(r"%(?![0-9A-Fa-f]{2})", "%25", text)
    return quote(lone, safe=SAFE, errors="replace")
