"""Rendered SST-2: sentences of SST-2 as pictures of text, negative or positive.

Official counts: 6,920 train, 872 valid, 1,821 test.
"""

from __future__ import annotations

from vltk.eval.datasets._contract import Files
from vltk.eval.datasets._folders import class_folders
from vltk.eval.datasets._lists import numbers
from vltk.eval.datasets._samples import Samples
from vltk.eval.datasets._splits import SPLITS, THREE, Splits

COUNTS = {"classes": 2, "train": 6_920, "validation": 872, "test": 1_821}
SHORT = {"train": "train", "validation": "valid", "test": "test"}


class RenderedSst2:
    splits = SPLITS
    counts = COUNTS

    def __init__(self, files: Files, *, nonstandard: bool = False) -> None:
        self._files = files
        self.classes = ["negative", "positive"]
        self._splits = Splits("rendered_sst2", self.classes, COUNTS, self._read, own=THREE, nonstandard=nonstandard)

    def split(self, name: str) -> Samples:
        return self._splits.get(name)

    def _read(self, name: str) -> Samples:
        short = SHORT[name]
        return class_folders(self._files, f"rendered-sst2/{short}", numbers(self.classes), name, keys=f"{short}/")
