"""COCO captions: the images of one folder in the zips, each with its captions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial

from vltk.data.prepare import Limits
from vltk.data.sources._raw import Raw
from vltk.data.sources._store import Store
from vltk.errors import VltkError


class Coco:
    """`rows()`: the images of the annotation file `captions`, in its order; they lie in the folder `images`."""

    def __init__(self, store: Store, limits: Limits, *, captions: str, images: str) -> None:
        self.store, self.limits, self.captions, self.images = store, limits, captions, images

    def rows(self) -> Iterator[Raw]:
        with self.store.open(self.captions) as file:
            facts = json.load(file)
        try:
            texts: dict[int, list[str]] = {}
            for note in facts["annotations"]:
                texts.setdefault(note["image_id"], []).append(note["caption"])
            images = [(image["id"], image["file_name"]) for image in facts["images"]]
        except (KeyError, TypeError) as error:
            raise VltkError(f"{self.captions}: no COCO captions: {error} is not in it") from None
        for number, name in images:
            read = partial(self.store.image, f"{self.images}/{name}", self.limits.max_bytes)
            yield Raw(name.rpartition(".")[0], read, texts.get(number, []), {"image_id": number})
