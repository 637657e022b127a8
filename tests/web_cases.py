"""The odd rows of a URL list: how each must end after the download, and after packing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """One odd row: `url` may be None or no URL at all; `fetchable` is False for what is rejected before any fetch."""

    name: str
    url: str | None
    status: str
    packed: str
    fetchable: bool = True


# path of the case -> (status after the download, status after packing)
SERVED = {
    "404": ("http_404", "http_404"),
    "410": ("http_410", "http_410"),
    "403": ("http_403", "http_403"),
    "429": ("http_429", "http_429"),
    "400": ("http_4xx", "http_4xx"),
    "500": ("http_5xx", "http_5xx"),
    "503-always": ("http_5xx", "http_5xx"),
    "503-once": ("ok", "ok"),
    "hang": ("timeout", "timeout"),
    "slow": ("too_slow", "too_slow"),
    "slow-headers": ("timeout", "timeout"),
    "endless-headers": ("unknown_failure", "unknown_failure"),
    "short": ("cut_short", "cut_short"),
    "short-chunked": ("cut_short", "cut_short"),
    "closes": ("cut_short", "cut_short"),
    "not-http": ("unknown_failure", "unknown_failure"),
    "endless": ("too_large", "too_large"),
    "announced-large": ("too_large", "too_large"),
    "gzip-bomb": ("too_large", "too_large"),
    "html": ("ok", "not_an_image"),
    "text": ("ok", "not_an_image"),
    "empty": ("ok", "not_an_image"),
    "svg": ("ok", "not_an_image"),
    "truncated-50": ("ok", "undecodable"),
    "truncated-95": ("ok", "undecodable"),
    "truncated-99": ("ok", "undecodable"),
    "bomb-400": ("ok", "too_many_pixels"),
    "bomb-1296": ("ok", "too_many_pixels"),
    "redirect": ("ok", "ok"),
    "redirect-relative": ("ok", "ok"),
    "redirect-self": ("redirect_loop", "redirect_loop"),
    "redirect-query": ("redirect_loop", "redirect_loop"),
    "redirect-file": ("bad_scheme", "bad_scheme"),
    "redirect-private": ("private_address", "private_address"),
    "redirect-metadata": ("private_address", "private_address"),
    "redirect-nowhere": ("unknown_failure", "unknown_failure"),
    "redirect-broken": ("bad_url", "bad_url"),
    "retry-after-odd": ("http_429", "http_429"),
    "retry-after-year": ("http_5xx", "http_5xx"),
    "noai": ("opted_out", "opted_out"),
    "noml": ("opted_out", "opted_out"),
    "robots-vltk": ("opted_out", "opted_out"),
    "robots-other": ("ok", "ok"),
    "tdm": ("opted_out", "opted_out"),
    "gzip": ("ok", "ok"),
    "chunked": ("ok", "ok"),
    "alpha": ("ok", "ok"),
    "png16": ("ok", "ok"),
    "palette": ("ok", "ok"),
    "gif": ("ok", "ok"),
    "webp": ("ok", "ok"),
    "cmyk": ("ok", "ok"),
    "gray": ("ok", "ok"),
    "exif6": ("ok", "ok"),
    "bmp": ("ok", "ok"),
    "pixel": ("ok", "too_small"),
    "banner": ("ok", "too_long_side"),
}


def unserved(port: int, closed_port: int) -> list[Case]:
    """Rows whose URL never reaches the server."""
    rows: list[tuple[str, str | None, str, bool]] = [
        ("file", "file:///etc/hostname", "bad_scheme", False),
        ("data", "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7", "bad_scheme", False),
        ("ftp", "ftp://127.0.0.1/picture.jpg", "bad_scheme", False),
        ("javascript", "javascript:alert(1)", "bad_scheme", False),
        ("no-scheme", "example.invalid/picture.jpg", "bad_scheme", False),
        ("empty-url", "", "no_url", False),
        ("null-url", None, "no_url", False),
        ("no-host", "http:///picture.jpg", "bad_url", False),
        ("bad-port", "http://example.invalid:99999/picture.jpg", "bad_url", False),
        ("bad-bracket", "http://[::1/picture.jpg", "bad_url", False),
        ("user-name", f"http://example.com@127.0.0.1:{port}/good/1.jpg", "bad_url", False),
        ("refused", f"http://127.0.0.1:{closed_port}/picture.jpg", "refused", True),
        ("no-dns", "http://no-such-host.invalid/picture.jpg", "dns", True),
        ("private-10", "http://10.0.0.1/picture.jpg", "private_address", True),
        ("private-localhost", f"http://localhost:{port}/good/1.jpg", "private_address", True),
        ("private-decimal", f"http://2130706433:{port}/good/1.jpg", "private_address", True),
        ("private-ipv6", f"http://[::1]:{port}/good/1.jpg", "private_address", True),
        ("private-mapped", f"http://[::ffff:127.0.0.1]:{port}/good/1.jpg", "private_address", True),
        ("metadata", "http://169.254.169.254/latest/meta-data/", "private_address", True),
    ]
    return [Case(name, url, status, status, fetchable) for name, url, status, fetchable in rows]
