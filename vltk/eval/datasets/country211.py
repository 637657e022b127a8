"""Country211: in which of 211 countries a photo was taken.

Official counts: 31,650 train, 10,550 valid, 21,100 test: 150, 50 and 100 a country.
"""

from __future__ import annotations

from vltk.eval.datasets._contract import Files
from vltk.eval.datasets._folders import class_folders
from vltk.eval.datasets._lists import numbers
from vltk.eval.datasets._names import names
from vltk.eval.datasets._samples import Samples
from vltk.eval.datasets._splits import SPLITS, THREE, Splits

COUNTS = {"classes": 211, "train": 31_650, "validation": 10_550, "test": 21_100}
SHORT = {"train": "train", "validation": "valid", "test": "test"}


class Country211:
    """Classes are numbered by their ISO 3166 codes, the names of the folders."""

    splits = SPLITS
    counts = COUNTS

    def __init__(self, files: Files, *, nonstandard: bool = False) -> None:
        self._files = files
        self._codes = list(names("country211"))
        self.classes = list(names("country211").values())
        self._splits = Splits("country211", self.classes, COUNTS, self._read, own=THREE, nonstandard=nonstandard)

    def split(self, name: str) -> Samples:
        return self._splits.get(name)

    def _read(self, name: str) -> Samples:
        short = SHORT[name]
        return class_folders(self._files, f"country211/{short}", numbers(self._codes), name, keys=f"{short}/")
