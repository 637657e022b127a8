"""Captions as they come from the web to clean text: no row is lost over an odd byte.

Bytes are UTF-8; a byte that is none is read as Windows-1252, or as Latin-1 where that has no character, so that one odd
byte does not spoil the rest of its caption.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from typing import NamedTuple

BLANKS = re.compile(r"[\s\x00-\x1f\x7f-\x9f\ufeff]+")  # blanks, line ends, control characters, byte order marks
ESCAPED, LONE = re.compile("[\udc80-\udcff]+"), re.compile("[\ud800-\udfff]")
ODD = "vltk-odd-bytes"  # the name of the error handler below


class Caption(NamedTuple):
    """The text to store, and whether it differs from what came in."""

    text: str
    changed: bool


def normalise(raw: bytes | str) -> Caption:
    """UTF-8 in NFC, every run of blanks, line ends and control characters as one space, none at the ends."""
    text = BLANKS.sub(" ", unicodedata.normalize("NFC", decoded(raw))).strip()
    return Caption(text, text != raw if isinstance(raw, str) else text.encode() != raw)


def decoded(raw: bytes | str) -> str:
    """The text of bytes (or of a string) as it was, fit to be stored: no surrogates, odd bytes as characters."""
    return raw.decode("utf-8", ODD) if isinstance(raw, bytes) else storable(raw)


def storable(text: str) -> str:
    """The same text, where UTF-8 can hold it; else halves of a pair are joined, and lone ones become bytes or U+FFFD.

    Such strings come from JSON escapes and from files read with `surrogateescape`.
    """
    try:
        text.encode()
        return text
    except UnicodeEncodeError:
        joined = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
        return LONE.sub("\ufffd", ESCAPED.sub(_bytes, joined))


def _bytes(match: re.Match[str]) -> str:
    return match[0].encode("utf-8", "surrogateescape").decode("utf-8", ODD)


def _odd(error: UnicodeError) -> tuple[str, int]:
    """One byte as Windows-1252, or as Latin-1 where that has none."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    byte = error.object[error.start : error.start + 1]
    try:
        return byte.decode("cp1252"), error.start + 1
    except UnicodeDecodeError:
        return byte.decode("latin-1"), error.start + 1


codecs.register_error(ODD, _odd)
