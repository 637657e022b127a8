"""MNIST: handwritten digits, 28 x 28 greys.

Official counts: 60,000 train, 10,000 test; no validation.
"""

from __future__ import annotations

import numpy as np

from vltk.errors import VltkError
from vltk.eval.datasets._contract import Files
from vltk.eval.datasets._idx import array
from vltk.eval.datasets._images import Raw
from vltk.eval.datasets._samples import Samples
from vltk.eval.datasets._splits import SPLITS, TWO, Splits

COUNTS = {"classes": 10, "trainval": 60_000, "test": 10_000}
PAIRS = {
    name: (f"{short}-images-idx3-ubyte", f"{short}-labels-idx1-ubyte")
    for name, short in (("trainval", "train"), ("test", "t10k"))
}


class Mnist:
    splits = SPLITS
    counts = COUNTS

    def __init__(self, files: Files, *, nonstandard: bool = False) -> None:
        files.require(*(path for pair in PAIRS.values() for path in pair))
        self._files = files
        self.classes = [str(digit) for digit in range(10)]
        self._splits = Splits("mnist", self.classes, COUNTS, self._read, own=TWO, nonstandard=nonstandard)

    def split(self, name: str) -> Samples:
        return self._splits.get(name)

    def _read(self, name: str) -> Samples:
        images, listed = PAIRS[name]
        pixels, labels = array(self._files, images, 3), array(self._files, listed, 1)
        if len(pixels) != len(labels):
            raise VltkError(f"{images} has {len(pixels):,} images, {listed} {len(labels):,} labels: one is another's")
        keys = [f"{images.split('-')[0]}/{row:05d}" for row in range(len(labels))]
        return Samples(name, keys, labels.astype(np.int64), Raw(pixels), listed)
