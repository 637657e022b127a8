"""What a host's answer means: its status code, its wish not to be used, its body within limits and unpacked."""

from __future__ import annotations

import email.utils
import tempfile
import time
import zlib
from collections.abc import Sequence
from typing import IO

from vltk.data.fetch.policy import FetchError, Policy
from vltk.data.statuses import Status

REDIRECTS = (301, 302, 303, 307, 308)
BY_CODE = {403: Status.http_403, 404: Status.http_404, 410: Status.http_410, 429: Status.http_429}
IN_MEMORY = 2**20  # larger bodies wait on disk
AGENT = "vltk"  # the name by which X-Robots-Tag can address us
VALUED = ("unavailable_after", "max-snippet", "max-image-preview", "max-video-preview")  # directives with a colon

Headers = Sequence[tuple[bytes, bytes]]  # names in lower case, as h11 gives them


def header(headers: Headers, name: str) -> str:
    """The first header of this name, "" when there is none."""
    return next((value.decode("latin-1").strip() for key, value in headers if key == name.encode()), "")


def of_code(code: int) -> Status:
    """The status of an HTTP code that is no success and no redirect."""
    if code in BY_CODE:
        return BY_CODE[code]
    return Status.http_4xx if 400 <= code < 500 else Status.http_5xx if 500 <= code < 600 else Status.unknown_failure


def retry_after(headers: Headers) -> float | None:
    """Seconds that the host asks to wait, from a number or a date; None when it says neither."""
    text = header(headers, "retry-after")
    try:
        if text.isdigit():
            return float(text)
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, OverflowError):  # a superscript two is a digit too; a year may have a hundred of them
        return None


def check_opt_out(headers: Headers, policy: Policy) -> None:
    """Raises FetchError opted_out: X-Robots-Tag for everybody or for us, or a text-and-data-mining reservation."""
    for key, value in headers:
        if key == b"x-robots-tag":
            _check_robots(value.decode("latin-1"), policy.opt_out)
    if header(headers, "tdm-reservation") == "1":
        raise FetchError(Status.opted_out, "tdm-reservation: 1")


def _check_robots(value: str, opt_out: Sequence[str]) -> None:
    agent = ""
    for directive in value.lower().split(","):
        name, colon, rest = directive.partition(":")
        if colon and name.strip() not in VALUED:
            agent, directive = name.strip(), rest
        if agent in ("", "*", AGENT) and directive.strip() in opt_out:
            raise FetchError(Status.opted_out, f"X-Robots-Tag: {value[:80]}")


class Body:
    """Bytes as they arrive: counted against the limit before and after unpacking, large ones on disk."""

    def __init__(self, headers: Headers, max_bytes: int) -> None:
        self.file: IO[bytes] = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115 (lives as long as the body)
        self.max_bytes, self.arrived, self.size = max_bytes, 0, 0
        self.packed = header(headers, "content-encoding").lower() in ("gzip", "x-gzip", "deflate")
        self.inflater = zlib.decompressobj(47)  # gzip or zlib, by the first bytes
        announced = header(headers, "content-length")
        if announced.isdigit() and int(announced) > max_bytes:
            raise self._too_large(f"{announced} bytes announced")

    def add(self, data: bytes) -> None:
        """Raises FetchError: too_large, undecodable (damaged compression)."""
        if not self.arrived and not data.startswith((b"\x1f\x8b", b"\x78")):
            self.packed = False  # some hosts say gzip and send the bare file
        self.arrived += len(data)
        if self.arrived > self.max_bytes:
            raise self._too_large(f"more than {self.max_bytes} bytes")
        self._keep(self._inflate(data) if self.packed else data)

    def _inflate(self, data: bytes) -> bytes:
        try:
            return self.inflater.decompress(data, self.max_bytes + 1 - self.size)
        except zlib.error as error:
            raise FetchError(Status.undecodable, f"content encoding: {error}") from None

    def _keep(self, data: bytes) -> None:
        self.size += len(data)
        if self.size > self.max_bytes:
            raise self._too_large(f"more than {self.max_bytes} bytes once unpacked")
        self.file.write(data)

    def _too_large(self, detail: str) -> FetchError:
        return FetchError(Status.too_large, detail)

    def finish(self) -> None:
        """Raises FetchError cut_short when compressed data has no end."""
        if self.packed and not self.inflater.eof:
            raise FetchError(Status.cut_short, "compressed data without an end")
        self.file.seek(0)
