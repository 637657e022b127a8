"""Where the members of a sample lie in a tar, and reading them: shards as vltk writes them, and those of others.

Packed (our own): the members of a sample follow one another, so one `pread` reads it; the first header has its key.
Scattered (any WebDataset tar): each member has its own place, and the index holds the keys.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from vltk.data.caption import decoded
from vltk.data.shard import ABSENT, BLOCK, INDEX

MEMBERS = np.dtype(
    [
        ("image_at", "<u8"), ("image", "<u4"), ("text_at", "<u8"), ("text", "<u4"), ("meta_at", "<u8"), ("meta", "<u4"),
        ("key_at", "<u4"), ("key", "<u2"), ("captioned", "?"),
    ]
)  # fmt: skip
MAGIC = b"VLTKMBR1"
HEAD = len(MAGIC) + 8  # bytes before the records: the magic word, their number
Read = Callable[[int, int], bytes]  # (bytes, offset) -> what stands there


class Misfit(Exception):
    """The file does not hold what the index says; the text says where."""


@dataclass(frozen=True)
class Sample:
    """One stored sample: encoded image (or None), texts (captions, or one text), labels and other JSON.

    `ids` are the `(T,)` token ids of a data set that is stored as tokens, without `[CLS]` and `[SEP]`.
    """

    key: str
    image: bytes | None
    texts: list[str]
    meta: dict[str, Any]
    ids: np.ndarray | None = None


class Index(Protocol):
    """The index of one shard."""

    def __len__(self) -> int: ...
    def has_texts(self) -> bool:
        """Every sample has a text."""

    def sample(self, row: int, read: Read) -> Sample:
        """Raises Misfit where the tar is another one."""


class Packed:
    """The index of a shard of `vltk.data.shard`."""

    def __init__(self, data: memoryview | bytes) -> None:
        self.rows = np.frombuffer(data, dtype=INDEX)

    def __len__(self) -> int:
        return len(self.rows)

    def has_texts(self) -> bool:
        return bool((self.rows["text"] != ABSENT).all())

    def sample(self, row: int, read: Read) -> Sample:
        offset, *sizes = self.rows[row].item()
        total = sum([_span(size) for size in sizes if size != ABSENT])
        data = read(total, offset)
        if len(data) != total or data[257:262] != b"ustar":
            raise Misfit("is not where the index says")
        key = data[: data.index(b".")].decode()  # no dots in a key of ours
        image, text, meta = _cut(data, sizes)
        facts = _facts(meta)
        texts = facts.pop("captions", [])
        return Sample(key, image, texts or ([text.decode()] if text is not None else []), facts)


class Scattered:
    """The index of a WebDataset tar that another tool wrote."""

    def __init__(self, data: memoryview | bytes) -> None:
        count = int.from_bytes(data[len(MAGIC) : HEAD], "little")
        self.rows = np.frombuffer(data, dtype=MEMBERS, count=count, offset=HEAD)
        self.keys = memoryview(data)[HEAD + self.rows.nbytes :]

    @staticmethod
    def pack(rows: list[tuple[int | bool, ...]], keys: list[bytes]) -> bytes:
        """The bytes of an index; a row has the fields of MEMBERS without those of the key."""
        starts = np.cumsum([0, *(len(key) for key in keys)]).tolist()
        filled = [(*row[:6], start, len(key), row[6]) for row, start, key in zip(rows, starts[:-1], keys, strict=True)]
        records = np.array(filled, dtype=MEMBERS).tobytes()
        return MAGIC + len(rows).to_bytes(8, "little") + records + b"".join(keys)

    def __len__(self) -> int:
        return len(self.rows)

    def has_texts(self) -> bool:
        return bool(self.rows["captioned"].all())

    def key(self, row: int) -> str:
        start, size = int(self.rows["key_at"][row]), int(self.rows["key"][row])
        return bytes(self.keys[start : start + size]).decode("utf-8", "surrogateescape")

    def sample(self, row: int, read: Read) -> Sample:
        *places, _, _, _ = self.rows[row].tolist()
        image, text, meta = (_member(read, *places[at : at + 2]) for at in (0, 2, 4))
        facts = _facts(meta)
        return Sample(self.key(row), image, texts_of(text, facts), facts)


def texts_of(text: bytes | None, facts: dict[str, Any]) -> list[str]:
    """The texts of a foreign sample: `captions` of its JSON (taken out), else its text member, else a `caption`."""
    captions = facts.pop("captions", None)
    if isinstance(captions, list) and captions and all(isinstance(one, str) for one in captions):
        return captions
    if text is not None:
        return [decoded(text).removeprefix("\ufeff")]
    caption = facts.get("caption")
    return [caption] if isinstance(caption, str) else []


def _facts(meta: bytes | None) -> dict[str, Any]:
    if meta is None:
        return {}
    try:
        facts = json.loads(meta)
        if isinstance(facts, dict):
            return facts
        reason = "it is no object"
    except ValueError as error:
        reason = str(error)
    raise Misfit(f"is not what was indexed: its JSON cannot be read: {reason}")


def _member(read: Read, offset: int, size: int) -> bytes | None:
    """The body of a member, whose header stands before it."""
    if size == ABSENT:
        return None
    data = read(BLOCK + size, offset - BLOCK)
    if len(data) != BLOCK + size or data[257:262] not in (b"ustar", b"\0\0\0\0\0"):
        raise Misfit("is not where the index says")
    return data[BLOCK:]


def _span(size: int) -> int:
    """Bytes that a member of `size` bytes takes in a tar."""
    return BLOCK + size + -size % BLOCK


def _cut(data: bytes, sizes: list[int]) -> list[bytes | None]:
    """The bodies of a sample's members, None where there is no such member."""
    parts: list[bytes | None] = []
    start = 0
    for size in sizes:
        if size == ABSENT:
            parts.append(None)
            continue
        parts.append(data[start + BLOCK : start + BLOCK + size])
        start += _span(size)
    return parts
