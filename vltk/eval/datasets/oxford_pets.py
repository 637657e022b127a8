"""Oxford-IIIT Pet: 37 breeds of cats and dogs.

Official counts: 3,680 trainval, 3,669 test; no validation of its own.
"""

from __future__ import annotations

import numpy as np

from vltk.errors import VltkError
from vltk.eval.datasets._contract import Files
from vltk.eval.datasets._images import Encoded
from vltk.eval.datasets._lists import number, require_all, rows
from vltk.eval.datasets._names import names
from vltk.eval.datasets._samples import Samples
from vltk.eval.datasets._splits import SPLITS, TWO, Splits

COUNTS = {"classes": 37, "trainval": 3_680, "test": 3_669}
LISTS = {name: f"annotations/{name}.txt" for name in TWO}
COLUMNS = ["IMAGE", "CLASS", "SPECIES", "BREED"]


class OxfordPets:
    splits = SPLITS
    counts = COUNTS

    def __init__(self, files: Files, *, nonstandard: bool = False) -> None:
        files.require(*LISTS.values())
        self._files = files
        self._breeds = list(names("oxford_pets"))
        self.classes = list(names("oxford_pets").values())
        self._splits = Splits("oxford_pets", self.classes, COUNTS, self._read, own=TWO, nonstandard=nonstandard)

    def split(self, name: str) -> Samples:
        return self._splits.get(name)

    def _read(self, name: str) -> Samples:
        listed = LISTS[name]
        listing = rows(self._files, listed, COLUMNS)  # as Abyssinian_1 1 1 1
        keys = [row[0] for row in listing]
        labels = [number(row[1], listed, row[0]) - 1 for row in listing]  # counted from 1
        for key, label in zip(keys, labels, strict=True):
            self._agrees(listed, key, label)
        paths = [f"images/{key}.jpg" for key in keys]
        require_all(self._files, paths, listed)
        return Samples(name, keys, np.array(labels, np.int64), Encoded(self._files, paths), listed)

    def _agrees(self, listed: str, key: str, label: int) -> None:
        """An image is named after its breed."""
        if 0 <= label < len(self._breeds) and key.rpartition("_")[0] != self._breeds[label]:
            raise VltkError(
                f"{listed}: {key} is of class {label + 1}, which is {self._breeds[label]}: it is mislabelled"
            )
