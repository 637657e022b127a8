"""FGVC-Aircraft (2013b), by its 100 variants.

Official counts: 3,334 train, 3,333 val, 3,333 test. The strip of 20 pixels at the bottom names the photographer and
stays in the image, as in CLIP's and FLAVA's.
"""

from __future__ import annotations

import numpy as np

from vltk.eval.datasets._contract import Files
from vltk.eval.datasets._images import Encoded
from vltk.eval.datasets._lists import class_number, lines, numbers, require_all, rows
from vltk.eval.datasets._samples import Samples
from vltk.eval.datasets._splits import SPLITS, THREE, Splits

COUNTS = {"classes": 100, "train": 3_334, "validation": 3_333, "test": 3_333}
DATA = "fgvc-aircraft-2013b/data"
LISTS = {
    name: f"{DATA}/images_variant_{short}.txt" for name, short in zip(THREE, ("train", "val", "test"), strict=True)
}


class FgvcAircraft:
    splits = SPLITS
    counts = COUNTS

    def __init__(self, files: Files, *, nonstandard: bool = False) -> None:
        files.require(f"{DATA}/variants.txt", *LISTS.values())
        self._files = files
        self.classes = lines(files, f"{DATA}/variants.txt")
        self._splits = Splits("fgvc_aircraft", self.classes, COUNTS, self._read, own=THREE, nonstandard=nonstandard)

    def split(self, name: str) -> Samples:
        return self._splits.get(name)

    def _read(self, name: str) -> Samples:
        listed, place = LISTS[name], numbers(self.classes)
        listing = rows(self._files, listed, ["IMAGE", "VARIANT"], sep=" ")  # as 0034309 Boeing 707-320
        keys = [key for key, _ in listing]
        labels = [class_number(variant, place, listed, key) for key, variant in listing]
        paths = [f"{DATA}/images/{key}.jpg" for key in keys]
        require_all(self._files, paths, listed)
        return Samples(name, keys, np.array(labels, np.int64), Encoded(self._files, paths), listed)
