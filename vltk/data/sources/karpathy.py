"""Flickr30k and its like: a CSV with a row an image, its captions as a JSON list, and the split it belongs to."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from functools import partial
from pathlib import PurePosixPath

from vltk.data.prepare import Limits
from vltk.data.sources._raw import Raw
from vltk.data.sources._store import Store
from vltk.data.statuses import Status
from vltk.errors import VltkError


class Karpathy:
    """`rows()`: the images of `split` by the columns `filename`, `raw` (the captions) and `split`."""

    def __init__(self, store: Store, limits: Limits, *, captions: str, split: str) -> None:
        self.store, self.limits, self.captions, self.split = store, limits, captions, split

    def rows(self) -> Iterator[Raw]:
        with self.store.open(self.captions) as file:
            text = io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline="")
            reader = csv.DictReader(text)
            absent = {"filename", "raw", "split"} - set(reader.fieldnames or [])
            if absent:
                have = ", ".join(reader.fieldnames or [])
                raise VltkError(f"{self.captions}: no column {', '.join(sorted(absent))}; have: {have}")
            for line in reader:
                if line["split"] == self.split:
                    yield self._row(line)

    def _row(self, line: dict[str, str]) -> Raw:
        name = line["filename"]
        try:
            texts = [str(text) for text in json.loads(line["raw"])]
        except (ValueError, TypeError) as error:
            return Raw(name, status=Status.unreadable_row, detail=f"captions: {error}")
        read = partial(self.store.image, name, self.limits.max_bytes)
        return Raw(PurePosixPath(name).stem, read, texts)
