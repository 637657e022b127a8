"""CIFAR-10: 32 x 32 photos of 10 kinds of things.

Official counts: 50,000 train in 5 batches, 10,000 test; no validation.
"""

from __future__ import annotations

from vltk.eval.datasets._cifar import batches, class_names
from vltk.eval.datasets._contract import Files
from vltk.eval.datasets._samples import Samples
from vltk.eval.datasets._splits import SPLITS, TWO, Splits

COUNTS = {"classes": 10, "trainval": 50_000, "test": 10_000}
FOLDER = "cifar-10-batches-py"
TRAIN = [f"{FOLDER}/data_batch_{number}" for number in range(1, 6)]
TEST, META = f"{FOLDER}/test_batch", f"{FOLDER}/batches.meta"


class Cifar10:
    """`nonstandard` also lets batches of train be absent."""

    splits = SPLITS
    counts = COUNTS

    def __init__(self, files: Files, *, nonstandard: bool = False) -> None:
        self._train = [path for path in TRAIN if files.exists(path) or not nonstandard] or TRAIN
        files.require(META, *self._train, TEST)
        self._files = files
        self.classes = class_names(files, META, b"label_names")
        self._splits = Splits("cifar10", self.classes, COUNTS, self._read, own=TWO, nonstandard=nonstandard)

    def split(self, name: str) -> Samples:
        return self._splits.get(name)

    def _read(self, name: str) -> Samples:
        return batches(self._files, [TEST] if name == "test" else self._train, b"labels", name)
