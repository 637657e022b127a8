"""From a source of URLs to clean rows that img2dataset can be trusted with (data.md section 2.2); others are put aside.

Every input row gets its number here, counted from 0 over all files.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vltk.data.caption import decoded, normalise
from vltk.data.fetch.form import Form, is_web
from vltk.data.fetch.lists import Line, read
from vltk.data.fetch.pieces import HELD, Clean, Cleaned, PieceWriter, Reject
from vltk.data.fetch.policy import FetchError, quoted
from vltk.data.statuses import Status
from vltk.errors import VltkError

LOOKED_AT = 1000  # rows by which swapped columns are told
# addresses that `quoted` leaves as they are: most of them, told ten times faster
PLAIN = re.compile(r"https?://[a-z0-9.-]+/(?:[A-Za-z0-9!$&'()*+,/:;=@_.~-]|%[0-9A-Fa-f]{2})*")


@dataclass(frozen=True)
class Wanted:
    """Which rows are fetched: captions of so many words in a wanted language, and the first `limit` rows."""

    captioned: bool = True
    min_words: int = 0
    language: Callable[[str], bool] | None = None
    limit: int | None = None


def clean(
    sources: list[tuple[Path, Form]],
    out: Path,
    piece: int,
    wanted: Wanted | None = None,
    each: Callable[[int], None] = lambda rows: None,
) -> Cleaned:
    """Write the rows of all files below `out` (an empty folder), in pieces; few rows in memory at a time.

    `each` is told the number of rows so far, now and then. Raises VltkError when a file cannot be read, when the
    columns are swapped, or when no row is usable.
    """
    wanted = wanted or Wanted()
    writer = PieceWriter(out, piece)
    try:
        for path, form in sources:
            check_columns(path, form)
            _clean(path, form, writer, wanted, each)
    finally:
        writer.close()
    if not writer.found.usable:
        lost = ", ".join(f"{count:,} {status}" for status, count in sorted(writer.found.statuses.items()))
        names = ", ".join(str(path) for path, _ in sources)
        raise VltkError(f"{names}: no row with an address to fetch: {lost or 'it is empty'}")
    return writer.found


def _clean(path: Path, form: Form, writer: PieceWriter, wanted: Wanted, each: Callable[[int], None]) -> None:
    for line in read(path, form):
        row = writer.found.rows
        if row == wanted.limit:
            return
        judged = judge(row, line, form, wanted)
        if isinstance(judged, Clean):
            writer.keep(judged)
        else:
            writer.put_aside(judged, path.name, line)
        if row % HELD == 0:
            each(row)


def judge(row: int, line: Line, form: Form, wanted: Wanted) -> Clean | Reject:
    """A raw row as a clean one, or with the reason why it is none."""
    if line.problem:
        return Reject(row, None, None, Status.unreadable_row.value, line.problem)
    url = _text(line.url, form.encoding)
    raw = _by_encoding(line.caption, form.encoding)
    came = None if raw is None else decoded(raw)
    status, detail, address = Status.ok, "", ""
    try:
        address = url if PLAIN.fullmatch(url) else quoted(url)
    except FetchError as error:
        status, detail = error.status, error.detail
    caption = normalise(raw or "")
    if status == Status.ok:
        status, detail = _wanted(line, caption.text, wanted)
    if status != Status.ok:
        return Reject(row, url or None, came, status.value, detail)
    return Clean(row, address, None if raw is None else caption.text, came if caption.changed else None)


def _wanted(line: Line, caption: str, wanted: Wanted) -> tuple[Status, str]:
    if line.unwanted:
        return Status.filtered, f"by the column {line.unwanted}"
    if wanted.captioned and not caption:
        return Status.no_caption, ""
    if len(caption.split()) < wanted.min_words:
        return Status.filtered, f"fewer than {wanted.min_words} words"
    if wanted.language and not wanted.language(caption):
        return Status.filtered, "another language"
    return Status.ok, ""


def check_columns(path: Path, form: Form) -> None:
    """Raises VltkError where the addresses stand in the column of the captions: before anything is fetched."""
    swapped = right = 0
    for number, line in enumerate(read(path, form)):
        if number == LOOKED_AT:
            break
        url, caption = (is_web(_text(cell, form.encoding)) for cell in (line.url, line.caption))
        right += url
        swapped += caption and not url
    if swapped > 10 * right:
        columns = ", ".join(form.columns) or f"url: {form.url}, caption: {', '.join(form.caption)}"
        raise VltkError(
            f"{path}: the columns are swapped: of the first {number:,} rows {swapped:,} have an address where the "
            f"caption should be, and {right:,} one where the address should be\nThey are read as: {columns}; "
            "name them the other way round (in a card: columns, url, caption)"
        )


def _by_encoding(raw: bytes | str | None, encoding: str | None) -> bytes | str | None:
    """Text by the encoding that was named; bytes where none was, or where they do not fit it."""
    if isinstance(raw, bytes) and encoding and not re.match("utf[-_]?(8|16|32)", encoding.lower()):
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            return raw
    return raw


def _text(raw: bytes | str | None, encoding: str | None) -> str:
    found = _by_encoding(raw, encoding)
    return "" if found is None else decoded(found)
