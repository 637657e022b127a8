"""Records of CSV and TSV files: a quote that does not close, or does not fit, costs at most its own line."""

from __future__ import annotations

import csv
import io
from collections import deque
from collections.abc import Callable, Iterator

from vltk.data.fetch.form import Form
from vltk.data.fetch.lines import shown

SPANNED = 100  # lines that one quoted record may take up


def cells_of(line: bytes, form: Form) -> list[bytes]:
    return (_parsed(line, form) or _plain(line, form)) if form.quoted else _plain(line, form)


def fitted(cells: list[bytes], count: int, caption: int | None, form: Form) -> list[bytes] | None:
    """As many cells as columns: surplus ones belong to the caption, the only one that can hold the separator."""
    extra = len(cells) - count
    if extra < 0 or (extra and caption is None):
        return None
    if extra and caption is not None:
        whole = form.separator.join(cells[caption : caption + extra + 1])
        return [*cells[:caption], whole, *cells[caption + extra + 1 :]]
    return cells


def records(
    source: Iterator[tuple[int, bytes]], form: Form, count: int, column: int, names: Callable[[str], bool]
) -> Iterator[tuple[int, list[bytes], bytes]]:
    """Records and their cells. Where quotes do not close or do not fit, that one line is taken as it stands.

    `names` says of a cell of `column` whether it can be what names a row (an address, an image): a record of several
    lines has one such cell, and no two of its lines could be rows of their own.
    """
    if not form.quoted:
        for number, line in source:
            yield number, _plain(line, form), line
        return
    ahead: deque[tuple[int, bytes]] = deque()
    while _ahead(ahead, source, 1):
        span = _span(ahead, source)
        record = b"\n".join(line for _, line in list(ahead)[:span]) if span else b""
        cells = _parsed(record, form) if span else None
        if cells is None or (span > 1 and not _is_one(cells, record, form, count, column, names)):
            number, line = ahead.popleft()
            yield number, _plain(line, form), line
            continue
        number = ahead[0][0]
        for _ in range(span):
            ahead.popleft()
        yield number, cells, record


def _is_one(
    cells: list[bytes], record: bytes, form: Form, count: int, column: int, names: Callable[[str], bool]
) -> bool:
    """Whether lines that quotes hold together are one row, not rows between the stray quotes of two of them."""
    if len(cells) != count or not names(shown(cells[column])):
        return False
    rows = (_plain(line, form) for line in record.split(b"\n"))
    places = (column, column - count)  # from the left or the right: the caption between may hold separators
    alone = [row for row in rows if len(row) >= count and any(names(shown(row[place])) for place in places)]
    return len(alone) <= 1


def _span(ahead: deque[tuple[int, bytes]], source: Iterator[tuple[int, bytes]]) -> int:
    """How many lines, read ahead as far as needed, the record takes up until its quotes close; 0: they do not."""
    quotes = 0
    for span in range(1, SPANNED + 1):
        if not _ahead(ahead, source, span):
            return 0
        quotes += ahead[span - 1][1].count(b'"')
        if quotes % 2 == 0:
            return span
    return 0


def _ahead(ahead: deque[tuple[int, bytes]], source: Iterator[tuple[int, bytes]], count: int) -> bool:
    """Whether that many lines are left; they are then read."""
    while len(ahead) < count:
        line = next(source, None)
        if line is None:
            return False
        ahead.append(line)
    return True


def _parsed(record: bytes, form: Form) -> list[bytes] | None:
    """The cells of a record with quotes; None where they do not fit. Odd bytes come through."""
    text = record.decode("utf-8", "surrogateescape")
    comma = form.separator.decode()
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=comma, strict=True))
    except csv.Error:
        return None
    return [cell.encode("utf-8", "surrogateescape") for cell in rows[0]] if len(rows) == 1 else None


def _plain(line: bytes, form: Form) -> list[bytes]:
    return line.split(form.separator)
