"""One row of a source as it is read (where its image is, its texts as given), and the record that it makes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from vltk.data.caption import normalise
from vltk.data.prepare import Limits, NotAdmitted, admit
from vltk.data.record import Record, Rejected
from vltk.data.statuses import Status

ReadImage = Callable[[], bytes]


@dataclass(frozen=True)
class Raw:
    """A row. `image`: bytes, or what reads them (raises NotAdmitted), or None for text alone; `texts` as they stand.

    `captioned` rows without a text left are rejected; `status` and `detail` are of a row that is rejected already.
    """

    key: str
    image: bytes | ReadImage | None = None
    texts: list[str] = field(default_factory=list)
    meta: dict[str, Any] = field(default_factory=dict)
    row: dict[str, Any] = field(default_factory=dict)
    captioned: bool = True
    min_words: int = 0
    status: Status = Status.ok
    detail: str = ""


def record(raw: Raw, limits: Limits) -> Record | Rejected:
    """The sample, or why there is none."""
    if raw.status is not Status.ok:
        return Rejected(raw.key, raw.status, raw.detail, raw.row)
    captions = [normalise(text) for text in raw.texts]
    filled = [caption.text for caption in captions if caption.text]
    texts = [text for text in filled if len(text.split()) >= raw.min_words]
    if raw.captioned and not texts:
        few = f"fewer than {raw.min_words} words: {filled[0]}" if filled else ""
        return Rejected(raw.key, Status.filtered if few else Status.no_caption, few, raw.row)
    changed = {"caption": as_given(raw.texts)} if any(caption.changed for caption in captions) else {}
    try:
        made = None if raw.image is None else admit(raw.image if isinstance(raw.image, bytes) else raw.image(), limits)
    except NotAdmitted as reason:
        return Rejected(raw.key, reason.status, reason.detail, {**raw.row, **reason.row})
    row = {**raw.row, **changed, **(made.row if made else {})}
    return Record(raw.key, made.image if made else None, texts, raw.meta, row)


def as_given(texts: list[str]) -> str:
    """For the rows parquet: one text as it is, several as a JSON list."""
    return texts[0] if len(texts) == 1 else json.dumps(texts, ensure_ascii=False)
