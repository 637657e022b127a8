"""URL lists of every layout (TSV, CSV, JSON lines, JSON, parquet, one address a line) as raw rows, one at a time.

What other readers lose is kept (data.md section 2.2): an odd byte, a quote that does not close, a tab in a caption
cost at most their own row.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from vltk.data.fetch.form import Form, is_web, matches
from vltk.data.fetch.lines import lines, opened, shown
from vltk.data.fetch.quoting import cells_of, fitted, records
from vltk.errors import VltkError
from vltk.strict import suggest

BATCH = 8192


class Line(NamedTuple):
    """One input row as it stands in the file; `problem` says why it cannot be used, `text` is what it holds."""

    number: int  # the line in its file (the entry, in JSON and parquet), from 1
    url: bytes | str | None
    caption: bytes | str | None
    problem: str = ""
    text: bytes | str = ""
    unwanted: str = ""  # the filter that leaves it out


def read(path: Path, form: Form) -> Iterator[Line]:
    """The rows of one file in order. Raises VltkError where the file as a whole cannot be read."""
    try:
        if form.layout == "parquet":
            yield from _parquet(path, form)
        elif form.layout == "json":
            yield from _json(path, form)
        elif form.layout == "jsonl":
            yield from _json_lines(path, form)
        elif form.layout == "txt":
            yield from _addresses(path, form)
        else:
            yield from _table(path, form)
    except (EOFError, OSError, zlib.error) as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the disk, not of what is in the file
            raise
        raise VltkError(f"{path}: the compressed file is cut or damaged ({error}): download it again") from None


def _addresses(path: Path, form: Form) -> Iterator[Line]:
    for number, text in lines(path, form.encoding):
        yield Line(number, text, None, "" if text.strip() else "blank line", text)


def _table(path: Path, form: Form) -> Iterator[Line]:
    source = lines(path, form.encoding)
    names = list(form.columns)
    if not names:
        first = next(source, (1, b""))[1]
        names = [shown(cell).strip().strip('"') for cell in cells_of(first, form)]
    _check(path, form, names)
    caption = names.index(form.caption[0]) if len(form.caption) == 1 else None
    for number, cells, text in records(source, form, len(names), names.index(form.url), is_web):
        yield _row(number, cells, text, names, caption, form)


def _check(path: Path, form: Form, names: list[str]) -> None:
    for name in form.wanted:
        if name not in names:
            raise VltkError(f"{path}: no column {name!r}{suggest(name, names)}")


def _row(number: int, cells: list[bytes], text: bytes, names: list[str], caption: int | None, form: Form) -> Line:
    if not text.strip():
        return Line(number, None, None, "blank line", text)
    whole = fitted(cells, len(names), caption, form)
    if whole is None:
        return Line(number, None, None, f"{len(cells)} columns, expected {len(names)}", text)
    return _line(number, dict(zip(names, whole, strict=True)), form, text)


def _line(number: int, entry: Mapping[str, Any], form: Form, text: bytes | str) -> Line:
    """The cells that are wanted; a caption column that is null or blank leaves the place to the next one."""
    captions = [_cell(entry.get(name)) for name in form.caption]
    caption = next((value for value in captions if value and value.strip()), captions[0] if captions else None)
    unwanted = next((name for name, values in form.where.items() if not matches(entry.get(name), values)), "")
    return Line(number, _cell(entry.get(form.url)), caption, text=text, unwanted=unwanted)


def _json_lines(path: Path, form: Form) -> Iterator[Line]:
    for number, text in lines(path, form.encoding):
        entry = read_entry(text)
        if entry is None:
            yield Line(number, None, None, "blank line" if not text.strip() else "no JSON object", text)
        else:
            yield _line(number, entry, form, text)


def read_entry(text: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(text.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) else None


def _cell(value: Any) -> bytes | str | None:
    """A value of a typed column: None stays None, numbers and truth values become text."""
    return value if value is None or isinstance(value, bytes | str) else str(value)


def _json(path: Path, form: Form) -> Iterator[Line]:
    """A list of objects, or an object of parallel lists (SBU)."""
    data = load(path)
    if isinstance(data, dict) and isinstance(data.get(form.url), list):
        _check(path, form, list(data))
        sizes = {name: len(data[name]) for name in form.wanted}
        if len(set(sizes.values())) > 1:
            raise VltkError(f"{path}: lists of different length: {', '.join(f'{n} {s}' for n, s in sizes.items())}")
        for number, cells in enumerate(zip(*(data[name] for name in form.wanted), strict=True), 1):
            yield _line(number, dict(zip(form.wanted, cells, strict=True)), form, str(cells[0]))
        return
    if not isinstance(data, list):
        have = ", ".join(data) if isinstance(data, dict) else type(data).__name__
        raise VltkError(f"{path}: neither a list of objects nor an object of lists with {form.url!r}; have: {have}")
    for number, entry in enumerate(data, 1):
        if isinstance(entry, dict):
            yield _line(number, entry, form, json.dumps(entry))
        else:
            yield Line(number, None, None, "no JSON object", str(entry))


def load(path: Path) -> Any:
    try:
        with opened(path) as file:
            return json.loads(file.read().decode("utf-8-sig", "surrogateescape"))
    except ValueError as error:
        raise VltkError(f"{path}: no JSON ({error})") from None


def _parquet(path: Path, form: Form) -> Iterator[Line]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise VltkError(f"{path}: no parquet file ({error})") from None
    _check(path, form, file.schema_arrow.names)
    number = 0
    for batch in file.iter_batches(BATCH, columns=form.wanted):
        columns = [_bytes(batch.column(name)).to_pylist() for name in form.wanted]
        for cells in zip(*columns, strict=True):
            number += 1
            yield _line(number, dict(zip(form.wanted, cells, strict=True)), form, _cell(cells[0]) or "")


def _bytes(column: Any) -> Any:
    """A column of text as bytes, as it may hold text that is no UTF-8."""
    import pyarrow as pa

    return column.cast(pa.large_binary()) if pa.types.is_string(column.type) else column
