"""CIFAR-100: 32 x 32 photos of 100 kinds of things, by their fine labels.

Official counts: 50,000 train, 10,000 test; no validation.
"""

from __future__ import annotations

from vltk.eval.datasets._cifar import batches, class_names
from vltk.eval.datasets._contract import Files
from vltk.eval.datasets._samples import Samples
from vltk.eval.datasets._splits import SPLITS, TWO, Splits

COUNTS = {"classes": 100, "trainval": 50_000, "test": 10_000}
TRAIN, TEST, META = (f"cifar-100-python/{name}" for name in ("train", "test", "meta"))


class Cifar100:
    splits = SPLITS
    counts = COUNTS

    def __init__(self, files: Files, *, nonstandard: bool = False) -> None:
        files.require(META, TRAIN, TEST)
        self._files = files
        self.classes = class_names(files, META, b"fine_label_names")
        self._splits = Splits("cifar100", self.classes, COUNTS, self._read, own=TWO, nonstandard=nonstandard)

    def split(self, name: str) -> Samples:
        return self._splits.get(name)

    def _read(self, name: str) -> Samples:
        return batches(self._files, [TEST if name == "test" else TRAIN], b"fine_labels", name)
