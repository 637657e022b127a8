"""Visual Genome: each image once, its region phrases as captions, the boxes of the regions as labels."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from vltk.data.prepare import Limits
from vltk.data.sources._raw import Raw
from vltk.data.sources._store import Store, objects
from vltk.data.statuses import Status


class VisualGenome:
    """`rows()`: the images of the file `regions`. `boxes[i]` is `[x, y, width, height]` of caption i, in pixels of the
    original image, whose size stands in the rows parquet. Phrases that say the same of an image are one caption, with
    the first of their boxes."""

    def __init__(self, store: Store, limits: Limits, *, regions: str) -> None:
        self.store, self.limits, self.regions = store, limits, regions

    def rows(self) -> Iterator[Raw]:
        with self.store.open(self.regions) as file:
            for entry in objects(file, self.regions):
                yield self._row(entry)

    def _row(self, entry: dict[str, Any]) -> Raw:
        try:
            found = entry["regions"]
            number = entry["id"] if "id" in entry else found[0]["image_id"]
            boxes: dict[str, list[int]] = {}
            for region in found:
                if phrase := " ".join(region["phrase"].split()):
                    boxes.setdefault(phrase, [region[side] for side in ("x", "y", "width", "height")])
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            return Raw(str(entry)[:60], status=Status.unreadable_row, detail=f"{type(error).__name__}: {error}")
        read = partial(self.store.image, f"{number}.jpg", self.limits.max_bytes)
        return Raw(str(number), read, list(boxes), {"image_id": number, "boxes": list(boxes.values())})
