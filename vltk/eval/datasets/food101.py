"""Food-101: photos of 101 dishes.

Official counts: 75,750 train, 25,250 test; no validation.
"""

from __future__ import annotations

import numpy as np

from vltk.eval.datasets._contract import Files
from vltk.eval.datasets._images import Encoded
from vltk.eval.datasets._lists import class_number, lines, numbers, require_all
from vltk.eval.datasets._samples import Samples
from vltk.eval.datasets._splits import SPLITS, TWO, Splits

COUNTS = {"classes": 101, "trainval": 75_750, "test": 25_250}
META, IMAGES = "food-101/meta", "food-101/images"


class Food101:
    splits = SPLITS
    counts = COUNTS

    def __init__(self, files: Files, *, nonstandard: bool = False) -> None:
        files.require(*(f"{META}/{name}.txt" for name in ("classes", "labels", "train", "test")))
        self._files = files
        self._folders = lines(files, f"{META}/classes.txt")
        self.classes = lines(files, f"{META}/labels.txt")
        self._splits = Splits("food101", self.classes, COUNTS, self._read, own=TWO, nonstandard=nonstandard)

    def split(self, name: str) -> Samples:
        return self._splits.get(name)

    def _read(self, name: str) -> Samples:
        listed = f"{META}/{'train' if name == 'trainval' else name}.txt"
        keys, place = lines(self._files, listed), numbers(self._folders)  # as apple_pie/1005649
        labels = [class_number(key.split("/")[0], place, listed, key) for key in keys]
        paths = [f"{IMAGES}/{key}.jpg" for key in keys]
        require_all(self._files, paths, listed)
        return Samples(name, keys, np.array(labels, np.int64), Encoded(self._files, paths), listed)
