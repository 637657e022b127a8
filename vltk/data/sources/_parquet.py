"""Rows of a parquet file of the hub: images with captions, images alone, or documents."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vltk.data.card_schema import Hub
from vltk.data.fetch.form import matches
from vltk.data.sentences import sentences
from vltk.data.sources._raw import Raw
from vltk.data.sources.texts import packed
from vltk.data.statuses import Status
from vltk.errors import VltkError

BATCH = 64
MAX_WORDS, MIN_WORDS = 60, 3  # of a sample of text


def parquet_rows(path: Path, prefix: str, hub: Hub) -> Iterator[Raw]:
    """A row a row of the file; documents become samples of whole sentences. Raises VltkError: column, damage."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        wanted = [hub.image, hub.text, *hub.captions, *hub.meta, *hub.filter.where]
        columns = list(dict.fromkeys(name for name in wanted if name))
        have = file.schema_arrow.names
        if absent := [name for name in columns if name not in have]:
            raise VltkError(f"{path}: no column {', '.join(absent)}; have: {', '.join(have)}")
        number = 0
        for batch in file.iter_batches(BATCH, columns=columns):
            for entry in batch.to_pylist():
                yield from _rows(entry, f"{prefix}{number:07d}", hub)
                number += 1
    except (pa.ArrowException, OSError) as error:
        raise VltkError(f"{path} is damaged ({error}): delete it, and the same command gets it again") from error


def _rows(entry: dict[str, Any], key: str, hub: Hub) -> Iterator[Raw]:
    unwanted = [name for name, values in hub.filter.where.items() if not matches(entry[name], values)]
    if unwanted:
        yield Raw(key, status=Status.filtered, detail=f"{unwanted[0]} is {entry[unwanted[0]]!r}"[:200])
    elif hub.text:
        yield from _documents(str(entry[hub.text] or ""), key)
    else:
        yield _image(entry, key, hub)


def _documents(text: str, key: str) -> Iterator[Raw]:
    found = list(packed(sentences(text.split("\n")), MAX_WORDS))
    if not found:
        yield Raw(key)
    for number, sample in enumerate(found):
        yield Raw(f"{key}_{number:05d}", texts=[sample], min_words=MIN_WORDS)


def piece_of(key: str) -> str:
    """Of the key of a text: what the pieces of one document have in common."""
    return key.rpartition("_")[0]


def _image(entry: dict[str, Any], key: str, hub: Hub) -> Raw:
    value = entry[hub.image] if hub.image else None
    data = value.get("bytes") if isinstance(value, dict) else value
    texts = [text for name in hub.captions for text in _list(entry[name]) if isinstance(text, str)]
    meta = {name: entry[name] for name in hub.meta}
    if not isinstance(data, bytes):
        return Raw(key, status=Status.missing_file, detail=f"no bytes in the column {hub.image}")
    return Raw(key, data, texts, meta, captioned=bool(hub.captions), min_words=hub.filter.min_words)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
