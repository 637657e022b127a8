"""Numbered lines of a text file of any encoding and length, packed or not: never more than one in memory."""

from __future__ import annotations

import bz2
import gzip
import io
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

LONGEST = 1 << 20  # bytes of a line; the rest of a longer one is passed over
WIDE = (b"\xff\xfe", b"\xfe\xff")  # first bytes of UTF-16


def lines(path: Path, encoding: str | None) -> Iterator[tuple[int, bytes]]:
    """Numbered lines without their ends; only `\\n` ends one. UTF-16 becomes UTF-8; a longer line is cut."""
    with opened(path) as raw:
        wide = raw.read(2) in WIDE
        raw.seek(0)
        if wide or (encoding or "").lower().startswith(("utf-16", "utf-32")):
            text = io.TextIOWrapper(raw, encoding or "utf-16", errors="replace", newline="\n")
            source: Iterator[bytes] = (line.encode() for line in text)
        else:
            source = _bounded(raw)
        for number, line in enumerate(source, 1):
            line = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            yield number, line.rstrip(b"\n").removesuffix(b"\r")


def opened(path: Path) -> IO[bytes]:
    """The file, unpacked by what its first bytes say."""
    with path.open("rb") as file:
        head = file.read(3)
    if head.startswith(b"\x1f\x8b"):
        return cast(IO[bytes], gzip.open(path, "rb"))
    return bz2.open(path, "rb") if head == b"BZh" else path.open("rb")


def _bounded(raw: IO[bytes]) -> Iterator[bytes]:
    while line := raw.readline(LONGEST):
        rest = line
        while not rest.endswith(b"\n") and rest:
            rest = raw.readline(LONGEST)
        yield line


def shown(data: bytes) -> str:
    return data.decode("utf-8", "replace")
