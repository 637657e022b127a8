"""One input row on its way into a shard: a record to store, or a rejected row with its reason."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from vltk.data.caption import storable

MAGIC = {b"\xff\xd8\xff": "jpg", b"\x89PNG": "png", b"GIF8": "gif", b"BM": "bmp", b"RIFF": "webp"}


@dataclass(frozen=True)
class Record:
    """One sample to write: encoded image bytes (or None), its texts (captions, or one text), labels and other JSON.

    `row` fills columns of the rows parquet (`vltk.data.row_table.COLUMNS`), for instance `url` and `sha256`.
    """

    key: str
    image: bytes | None
    texts: list[str] = field(default_factory=list)
    meta: dict[str, Any] = field(default_factory=dict)
    row: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Rejected:
    """An input row that gives no sample: `status` is a word of `vltk.data.statuses`, `detail` says what was seen."""

    key: str
    status: str
    detail: str = ""
    row: Mapping[str, Any] = field(default_factory=dict)


class Members(NamedTuple):
    """The files of a sample as (ending, bytes), in the order they are written; None where there is no such file."""

    image: tuple[str, bytes] | None
    text: tuple[str, bytes] | None
    meta: tuple[str, bytes] | None


def members(record: Record) -> Members:
    """Image, text (the first), meta (all texts, if there are several, and labels)."""
    image = None if record.image is None else (extension(record.image), record.image)
    text = ("txt", storable(record.texts[0]).encode()) if record.texts else None
    facts = {"captions": record.texts, **record.meta} if len(record.texts) > 1 else record.meta
    meta = ("json", storable(json.dumps(facts, ensure_ascii=False, sort_keys=True)).encode()) if facts else None
    if image is None and text is None and meta is None:
        raise ValueError(f"record {record.key!r} has neither image nor text")
    return Members(image, text, meta)


def safe_key(name: str) -> str:
    """A name that every WebDataset reader takes as one key: no dots, no spaces, at most 80 characters."""
    key = re.sub(r"[^A-Za-z0-9_/-]", "_", name).strip("/") or "_"
    if len(key) <= 80:
        return key
    return f"{key[:60]}_{hashlib.sha256(storable(name).encode()).hexdigest()[:16]}"


def extension(image: bytes) -> str:
    """The file ending of encoded image bytes, by their first bytes."""
    for start, ending in MAGIC.items():
        if image.startswith(start):
            return ending
    return "bin"
