"""Writing a data set of tokens: documents in, packed samples of whole sentences out, shard by shard.

The folder gets `tokens/00000.bin`, `.idx.npy`, `.doc.npy`, `rows/00000.parquet` (every document), the tokenizer's file
and, last, `manifest.json`. A run that was stopped goes on behind its last finished shard.
"""

from __future__ import annotations

import hashlib
import os
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from vltk.data.hashes import file_sha256
from vltk.data.record import Rejected
from vltk.data.row_table import RowTable
from vltk.data.sources.documents import Document
from vltk.data.statuses import Status
from vltk.data.text import Tokenizer
from vltk.whole import sync

SMALL = 1 << 16  # words whose ids fit into uint16
BATCH = 1 << 20  # characters that are tokenised at a time, on all cores
COUNTS = ("samples", "documents", "tokens", "cut_sentences", "left_tokens", "unknown_tokens")


def dtype_for(words: int) -> np.dtype[Any]:
    """The type of ids below `words` on disk, little-endian."""
    return np.dtype("<u2") if words <= SMALL else np.dtype("<u4")


class TokenWriter:
    """One shard: documents, their sentences and rejected rows in; `close` gives its entry of the manifest.

    A sample takes whole sentences of one document while they fit into `room` ids; a longer sentence is cut between
    words, and counted. What is left of a document at its end and has fewer than `least` ids is left out, and counted.
    """

    def __init__(self, folder: Path, number: int, first_row: int, tokenizer: Tokenizer, room: int, least: int) -> None:
        self.folder, self.number, self.next_row = folder, number, first_row
        self.tokenizer, self.room, self.least = tokenizer, room, least
        self.dtype = dtype_for(tokenizer.size)
        self.counts: Counter[str] = Counter()
        self.statuses: Counter[str] = Counter()
        self.starts, self.firsts = array("q", [0]), array("q", [0])
        self.first_row = first_row
        for name in ("tokens", "rows"):
            (folder / name).mkdir(exist_ok=True)
        self._file: BinaryIO = self._path("bin").open("wb")
        self._sha = hashlib.sha256()
        self._rows = RowTable(folder / "rows" / f"{number:05d}.parquet")
        self._document: Document | None = None

    def _path(self, ending: str) -> Path:
        return self.folder / "tokens" / f"{self.number:05d}.{ending}"

    def reject(self, row: Rejected) -> None:
        self._note(row.key, str(row.status), row.detail, 0, **row.row)

    def begin(self, document: Document) -> None:
        self._document, self._held, self._cuts = document, list[int](), 0
        self._text, self._bytes, self._first = hashlib.sha256(), 0, self.counts["samples"]

    def sentence(self, text: str, ids: list[int]) -> None:
        """The next sentence of the document that was begun, and its ids."""
        said = text.encode() + b"\n"
        self._text.update(said)
        self._bytes += len(said)
        if len(self._held) + len(ids) > self.room:
            self._sample()
        if len(ids) > self.room:
            self._cuts += 1
            *whole, ids = self._cut(ids)
            for part in whole:
                self._held = part
                self._sample()
        self._held += ids

    def end(self) -> None:
        """The document is complete: its last sample, and its row."""
        if len(self._held) >= self.least:
            self._sample()
        self.counts["left_tokens"] += len(self._held)
        made = self.counts["samples"] - self._first
        self.counts["cut_sentences"] += self._cuts
        document, self._document = self._document, None
        assert document is not None
        facts = {"url": document.url, "bytes": self._bytes, "sha256": self._text.hexdigest()}
        if not made:
            what = f"{len(self._held)} tokens, fewer than {self.least}" if self._bytes else "no text"
            self._note(document.key, Status.filtered, what, 0, **facts)
            return
        self.counts["documents"] += 1
        self.firsts.append(self.counts["samples"])
        self._note(document.key, Status.ok, f"{self._cuts} sentences cut" if self._cuts else "", made, **facts)

    def _cut(self, ids: list[int]) -> list[list[int]]:
        """A sentence in pieces that fit, between words where a word fits."""
        starts = np.flatnonzero(self.tokenizer.word_starts(np.array(ids)))
        pieces, begin = [], 0
        while len(ids) - begin > self.room:
            last = int(starts[np.searchsorted(starts, begin + self.room, side="right") - 1])
            stop = last if last > begin else begin + self.room
            pieces.append(ids[begin:stop])
            begin = stop
        return [*pieces, ids[begin:]]

    def _sample(self) -> None:
        if not self._held:
            return
        data = np.array(self._held, dtype=self.dtype)
        body = data.tobytes()
        self._file.write(body)
        self._sha.update(body)
        self.counts["samples"] += 1
        self.counts["tokens"] += len(data)
        self.counts["unknown_tokens"] += (
            int((data == self.tokenizer.unk).sum()) if self.tokenizer.unk is not None else 0
        )
        self.starts.append(self.counts["tokens"])
        self._held = []

    def _note(self, key: str, status: str, detail: str, texts: int, **more: Any) -> None:
        shard = self.number if texts else -1
        said = {
            "row": self.next_row,
            "key": key,
            "status": str(status),
            "detail": detail,
            "shard": shard,
            "texts": texts,
        }
        self._rows.add(said | more)
        self.statuses[str(status)] += 1
        self.next_row += 1

    def close(self) -> dict[str, Any]:
        """Everything on disk; the entry of the manifest."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._rows.close()
        rows = self.folder / "rows" / f"{self.number:05d}.parquet"
        sync(rows)
        arrays = {"index": ("idx.npy", self.starts), "documents": ("doc.npy", self.firsts)}
        digests = {f"{name}_sha256": self._save(ending, values) for name, (ending, values) in arrays.items()}
        name = f"tokens/{self.number:05d}"
        files = {"file": f"{name}.bin", "index": f"{name}.idx.npy", "documents_index": f"{name}.doc.npy"}
        counts = {key: self.counts[key] for key in COUNTS}
        size = self.counts["tokens"] * self.dtype.itemsize
        return files | counts | digests | {
            "images": 0, "texts": self.counts["samples"], "bytes": size, "sha256": self._sha.hexdigest(),
            "rows": self.next_row - self.first_row, "rows_sha256": file_sha256(rows),
            "statuses": dict(sorted(self.statuses.items())),
        }  # fmt: skip

    def _save(self, ending: str, values: array[int]) -> str:
        with self._path(ending).open("w+b") as file:
            np.save(file, np.array(values, dtype="<i8"), allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
            file.seek(0)
            return hashlib.file_digest(file, "sha256").hexdigest()

    def abandon(self) -> None:
        """Close the files of a shard that will not be finished."""
        self._file.close()
        self._rows.close()


def encoded(
    documents: Iterable[Document | Rejected], tokenizer: Tokenizer
) -> Iterator[Document | Rejected | tuple[str, list[int]]]:
    """The documents and rejected rows in their order, each document followed by its sentences with their ids."""
    held: list[Document | Rejected | str] = []
    size = 0
    for event in _events(documents):
        held.append(event)
        size += len(event) if isinstance(event, str) else 64
        if size > BATCH:
            yield from _with_ids(held, tokenizer)
            held, size = [], 0
    yield from _with_ids(held, tokenizer)


def _events(documents: Iterable[Document | Rejected]) -> Iterator[Document | Rejected | str]:
    for document in documents:
        yield document
        if isinstance(document, Document):
            yield from document.sentences


def _with_ids(
    events: list[Document | Rejected | str], tokenizer: Tokenizer
) -> Iterator[Document | Rejected | tuple[str, list[int]]]:
    ids = iter(tokenizer.encode_parts([event for event in events if isinstance(event, str)]))
    for event in events:
        yield (event, next(ids)) if isinstance(event, str) else event
