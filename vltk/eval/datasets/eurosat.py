"""EuroSAT: 64 x 64 satellite images of 10 kinds of land, the RGB version.

Official counts: 27,000 images of 2,000 to 3,000 a class; no official split. Rules of ours: `clip` takes 1,000 of each
class as trainval and 500 as test (10,000 and 5,000, CLIP's sizes); `vtab` takes 60, 20 and 20 % of each class as train,
validation and test. Which images CLIP and VTAB took is not published.
"""

from __future__ import annotations

from functools import cached_property
from typing import Literal

from vltk.eval.datasets._contract import Files
from vltk.eval.datasets._folders import class_folders
from vltk.eval.datasets._lists import numbers
from vltk.eval.datasets._names import words
from vltk.eval.datasets._rules import portions, scaled
from vltk.eval.datasets._samples import Samples
from vltk.eval.datasets._splits import SPLITS, THREE, TWO, Splits

COUNTS = {"classes": 10, "trainval": 10_000, "test": 5_000}
VTAB_COUNTS = {"classes": 10, "train": 16_200, "validation": 5_400, "test": 5_400}
FOLDERS = [
    "AnnualCrop", "Forest", "HerbaceousVegetation", "Highway", "Industrial", "Pasture", "PermanentCrop", "Residential",
    "River", "SeaLake",
]  # fmt: skip
PLACES = ("EuroSAT_RGB", "2750")  # today's name, and that of the first release
SEED = "vltk eurosat 1"


class EuroSat:
    splits = SPLITS

    def __init__(self, files: Files, *, partition: Literal["clip", "vtab"] = "clip", nonstandard: bool = False) -> None:
        self._files = files
        self._vtab = partition == "vtab"
        self._own = THREE if self._vtab else TWO
        self.classes = [words(folder) for folder in FOLDERS]
        self.counts = VTAB_COUNTS if self._vtab else COUNTS
        self._splits = Splits("eurosat", self.classes, self.counts, self._read, own=self._own, nonstandard=nonstandard)

    def split(self, name: str) -> Samples:
        return self._splits.get(name)

    def _read(self, name: str) -> Samples:
        masks = portions(self._all.keys, self._all.labels, SEED, self._cut)
        what = "60, 20, 20 % of each class" if self._vtab else "1,000 and 500 of each class"
        return self._all.part(name, masks[self._own.index(name)], f"{what} for {', '.join(self._own)}, seed '{SEED}'")

    def _cut(self, count: int) -> list[int]:
        """The portions of a class; a class that is too small for CLIP's is cut in their proportion."""
        return scaled([count * 3 // 5, count // 5, count // 5] if self._vtab else [1_000, 500], count)

    @cached_property
    def _all(self) -> Samples:
        place = next((place for place in PLACES if self._files.exists(place)), PLACES[0])
        return class_folders(self._files, place, numbers(FOLDERS), "all")
