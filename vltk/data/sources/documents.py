"""Documents of running text: text files, JSON lines, parquet, each also compressed, or the texts of a data set."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, TextIO

from vltk.data.caption import storable
from vltk.data.dataset import Dataset, open_dataset
from vltk.data.record import Rejected
from vltk.data.sentences import sentences
from vltk.data.sources._parquet import piece_of
from vltk.data.sources.texts import ENDINGS
from vltk.data.statuses import Status
from vltk.errors import VltkError

PACKED = {".gz", ".bz2", ".zst"}
TABLES = {".jsonl", ".ndjson", ".json", ".parquet"}
URL = "url"  # the column of addresses, where a table has one
LINE = 1 << 20  # characters of a text line that are read at a time
SHOWN = 500  # characters of an unusable line that are kept
Per = Literal["file", "line", "blank"]


@dataclass(frozen=True)
class Document:
    """A document: `sentences` are read while they are taken, once, and before the next document is."""

    key: str
    sentences: Iterator[str]
    url: str | None = None


class Documents:
    """`read()`: every document below `source`, in the order of the files' names; unusable lines as rejected rows.

    A text file is one document (`per` file), one a line, or one between blank lines; `starts` is a pattern of lines
    that begin one, as `^ = [^=]` in WikiText. Of JSON lines and parquet each row is one, its text in `column`.
    A byte that is not UTF-8 is read as Windows-1252. Raises VltkError for a damaged file or one without the column.
    """

    def __init__(self, source: Path, *, column: str = "text", per: Per = "file", starts: str | None = None) -> None:
        self.source, self.column, self.per = source, column, per
        self.starts = _pattern(starts)
        self.files = _files(source)
        self.sizes = [path.stat().st_size for path in self.files]
        self.total, self.done = sum(self.sizes), 0  # bytes as they lie on disk
        self.stamp = [path.stat().st_mtime_ns for path in self.files]  # with `facts`: whether they are what they were

    @property
    def facts(self) -> dict[str, Any]:
        """What decides the documents, for the manifest."""
        starts = self.starts.pattern if self.starts else None
        files = [[self._name(path), size] for path, size in zip(self.files, self.sizes, strict=True)]
        return {"source": self.source.name, "column": self.column, "per": self.per, "starts": starts, "files": files}

    def read(self) -> Iterator[Document | Rejected]:
        before = 0
        for path, size in zip(self.files, self.sizes, strict=True):
            kind = _kind(path)
            reader = self._parquet if kind == ".parquet" else self._json if kind in TABLES else self._text
            yield from reader(path, self._noted(before))
            before += size
            self.done = before

    def _noted(self, before: int) -> Callable[[int], None]:
        def note(position: int) -> None:
            self.done = before + position

        return note

    def _name(self, path: Path) -> str:
        return path.relative_to(self.source).as_posix() if self.source.is_dir() else path.name

    def _text(self, path: Path, note: Callable[[int], None]) -> Iterator[Document | Rejected]:
        name = self._name(path)
        if self.per == "file" and self.starts is None:
            yield Document(name, sentences(_lines(path, note)))
            return
        held: list[str] = []
        first = 1
        for number, line in enumerate(_lines(path, note), 1):
            begins = bool(self.starts.match(line)) if self.starts else self.per == "line"
            if held and (begins or (self.per == "blank" and not line.strip())):
                yield Document(f"{name}:{first}", sentences(held))
                held = []
            if held or line.strip():
                first = first if held else number
                held.append(line)
        if held:
            yield Document(f"{name}:{first}", sentences(held))

    def _json(self, path: Path, note: Callable[[int], None]) -> Iterator[Document | Rejected]:
        name = self._name(path)
        rows = _json_list(path) if _kind(path) == ".json" else None
        known = False
        for number, line in enumerate(_lines(path, note, -1) if rows is None else rows, 1):
            key = f"{name}:{number}"
            row = _parsed(line) if isinstance(line, str) else line
            if row is None and not str(line).strip():
                continue
            if not known and isinstance(row, dict):
                self._check_column(path, row)
                known = True
            yield self._row(key, row, line)

    def _row(self, key: str, row: Any, line: Any) -> Document | Rejected:
        text = row.get(self.column) if isinstance(row, dict) else None
        if isinstance(text, str):
            url = row.get(URL)
            return Document(key, sentences(storable(text).split("\n")), url if isinstance(url, str) else None)
        what = "no JSON object" if not isinstance(row, dict) else f"no text in {self.column!r}"
        return Rejected(key, Status.unreadable_row, what, {"caption": str(line)[:SHOWN]})

    def _parquet(self, path: Path, note: Callable[[int], None]) -> Iterator[Document | Rejected]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        name, number = self._name(path), 0
        try:
            with pq.ParquetFile(path) as file:
                self._check_column(path, file.schema_arrow.names)
                columns = [self.column, *([URL] if URL in file.schema_arrow.names else [])]
                for batch in file.iter_batches(256, columns=columns):
                    for row in batch.to_pylist():
                        yield self._row(f"{name}:{number}", row, row)
                        number += 1
                    note(path.stat().st_size * number // max(1, file.metadata.num_rows))
        except pa.ArrowException as error:
            raise VltkError(f"{path} is damaged, or no parquet file: {error}") from error

    def _check_column(self, path: Path, names: Iterable[str]) -> None:
        if self.column not in names:
            have = ", ".join(names) or "none"
            raise VltkError(f"{path}: no column {self.column!r}; have: {have}\nSay which holds the text: --column NAME")


class StoredTexts:
    """`read()`: every text of a data set as one document; pieces of one text of the hub together, as it was."""

    def __init__(self, name: str) -> None:
        self.dataset: Dataset = open_dataset(name)
        if not self.dataset.has_texts or "tokenizer" in self.dataset.manifest:
            raise VltkError(f"the data set {name!r} has no texts to tokenise (vltk data ls says what it has)")
        self.total, self.done = len(self.dataset), 0  # samples
        source = self.dataset.manifest["source"]
        self.in_pieces = source.get("kind") == "hub" and not self.dataset.manifest["images"]
        self.stamp = [self.dataset.digest]

    @property
    def facts(self) -> dict[str, Any]:
        return {"source": self.dataset.name}

    def read(self) -> Iterator[Document | Rejected]:
        for (key, _), found in groupby(self._texts(), lambda text: text[:2]):
            yield Document(key, sentences(line for _, _, text in found for line in text.split("\n")))

    def _texts(self) -> Iterator[tuple[str, int, str]]:
        """Key and number of a document, and a text of it; equal keys are other documents unless the number is equal."""
        for index in range(self.total):
            sample = self.dataset.read(index)
            for number, text in enumerate(sample.texts):
                if self.in_pieces:
                    yield piece_of(sample.key), 0, text
                else:
                    yield sample.key if number == 0 else f"{sample.key}#{number}", index, text
            self.done = index + 1


def documents(source: str, **options: Any) -> Documents | StoredTexts:
    """The documents of a path, or of a data set of that name. Raises Missing or VltkError where it is neither."""
    return Documents(Path(source), **options) if Path(source).exists() else StoredTexts(source)


def _kind(path: Path) -> str:
    """The ending without that of the compression, in small letters."""
    inner = Path(path.stem) if path.suffix.lower() in PACKED else path
    return inner.suffix.lower()


def _files(source: Path) -> list[Path]:
    if source.is_file():
        return [source]
    paths = sorted(path for path in source.rglob("*") if path.is_file() and not path.name.startswith("."))
    found = [path for path in paths if _kind(path) in ENDINGS | TABLES]
    if not found:
        looked = ", ".join(sorted(ENDINGS | TABLES))
        raise VltkError(f"{source}: no documents in it (looked for {looked}, also with {', '.join(sorted(PACKED))})")
    return found


def _pattern(starts: str | None) -> re.Pattern[str] | None:
    try:
        return re.compile(starts) if starts else None
    except re.error as error:
        raise VltkError(f"--starts {starts!r} is no regular expression: {error}") from None


@contextmanager
def _opened(path: Path) -> Iterator[tuple[TextIO, io.BufferedReader]]:
    """The text of a file, unpacked, its odd bytes as surrogates; and the file on disk, whose position is known."""
    try:
        with path.open("rb") as raw, io.TextIOWrapper(_plain(raw, path), "utf-8-sig", "surrogateescape") as text:
            yield text, raw
    except (OSError, EOFError, zlib.error) as error:
        raise VltkError(f"{path} is damaged or cannot be read: {error}") from error


def _plain(raw: io.BufferedReader, path: Path) -> Any:
    """The bytes of a file without its compression."""
    ending = path.suffix.lower()
    if ending == ".gz":
        return gzip.GzipFile(fileobj=raw)
    if ending == ".bz2":
        return bz2.BZ2File(raw)
    if ending == ".zst":
        import pyarrow as pa

        return io.BufferedReader(pa.CompressedInputStream(raw, "zstd"))
    return raw


def _lines(path: Path, note: Callable[[int], None], longest: int = LINE) -> Iterator[str]:
    """The lines of a file; one that is longer than `longest` characters comes in pieces."""
    with _opened(path) as (text, raw):
        while line := text.readline(longest):
            note(raw.tell())
            yield line


def _json_list(path: Path) -> list[Any] | None:
    """The items of a file that is one JSON list; None where it is not, and is read line by line."""
    with _opened(path) as (text, _):
        if text.read(1).strip() != "[":
            return None
        rest = text.read()
    try:
        found: list[Any] = json.loads("[" + rest)
    except ValueError as error:
        raise VltkError(f"{path}: neither a JSON list nor JSON lines: {error}") from None
    return found


def _parsed(line: str) -> Any:
    try:
        return json.loads(storable(line))
    except ValueError:
        return None
