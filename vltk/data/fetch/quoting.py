"""Records of CSV and TSV files: a quote that does not close, or does not fit, costs at most its own line."""

from __future__ import annotations

import csv
import io
from collections import deque
from collections.abc import Iterator

from vltk.data.fetch.form import Form, is_web
from vltk.data.fetch.lines import shown

SPANNED = 100  # lines that one quoted record may take up


def cells_of(line: bytes, form: Form) -> list[bytes]:
    return (_parsed(line, form) or _plain(line, form)) if form.quoted else _plain(line, form)


def records(
    source: Iterator[tuple[int, bytes]], form: Form, count: int, url: int
) -> Iterator[tuple[int, list[bytes], bytes]]:
    """Records and their cells. Where quotes do not close or do not fit, that one line is taken as it stands."""
    if not form.quoted:
        for number, line in source:
            yield number, _plain(line, form), line
        return
    ahead: deque[tuple[int, bytes]] = deque()
    while _ahead(ahead, source, 1):
        span = _span(ahead, source)
        record = b"\n".join(line for _, line in list(ahead)[:span]) if span else b""
        cells = _parsed(record, form) if span else None
        if cells is None or (span > 1 and not (len(cells) == count and is_web(shown(cells[url])))):
            number, line = ahead.popleft()
            yield number, _plain(line, form), line
            continue
        number = ahead[0][0]
        for _ in range(span):
            ahead.popleft()
        yield number, cells, record


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
    comma = "," if form.layout == "csv" else "\t"
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=comma, strict=True))
    except csv.Error:
        return None
    return [cell.encode("utf-8", "surrogateescape") for cell in rows[0]] if len(rows) == 1 else None


def _plain(line: bytes, form: Form) -> list[bytes]:
    return line.split(b"," if form.layout == "csv" else b"\t")
