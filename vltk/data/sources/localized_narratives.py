"""Localized Narratives: each image once, the sentences of what was said about it as its captions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial

from vltk.data.prepare import Limits
from vltk.data.sentences import sentences
from vltk.data.sources._raw import Raw
from vltk.data.sources._store import Store
from vltk.data.statuses import Status


class LocalizedNarratives:
    """`rows()`: the images of the JSON lines `captions` (`dataset_id`, `image_id`, `caption`), all narratives of an
    image together; sentences shorter than `min_words` are left out."""

    def __init__(self, store: Store, limits: Limits, *, captions: str, min_words: int = 3) -> None:
        self.store, self.limits, self.captions, self.min_words = store, limits, captions, min_words

    def rows(self) -> Iterator[Raw]:
        told: dict[tuple[str, str], list[str]] = {}
        with self.store.open(self.captions) as file:
            for number, line in enumerate(file, 1):
                try:
                    entry = json.loads(line.decode("utf-8", "surrogateescape"))
                    image = (str(entry["dataset_id"]), str(entry["image_id"]))
                    told.setdefault(image, []).append(str(entry["caption"]))
                except (ValueError, KeyError, TypeError) as error:
                    where = f"{self.captions}:{number}: {type(error).__name__}: {error}"
                    yield Raw(f"line_{number}", status=Status.unreadable_row, detail=where)
        for (name, number_), narratives in told.items():
            yield self._row(name, number_, narratives)

    def _row(self, name: str, number: str, narratives: list[str]) -> Raw:
        """Image names: COCO's of 2017 are the number filled up with zeros; the others are the number itself."""
        file = f"{number:0>12}.jpg" if name.startswith("mscoco") else f"{number}.jpg"
        texts = list(dict.fromkeys(sentence for told in narratives for sentence in sentences(told.splitlines())))
        read = partial(self.store.image, file, self.limits.max_bytes)
        return Raw(f"{name}_{number}", read, texts, {"image_id": number}, min_words=self.min_words)
