"""PatchCamelyon: 96 x 96 patches of lymph nodes, with or without tumour in their middle.

Official counts: 262,144 train, 32,768 valid, 32,768 test.
"""

from __future__ import annotations

import numpy as np

from vltk.errors import VltkError
from vltk.eval.datasets._contract import Files
from vltk.eval.datasets._hdf5 import dataset
from vltk.eval.datasets._images import Raw
from vltk.eval.datasets._samples import Samples
from vltk.eval.datasets._splits import SPLITS, THREE, Splits

COUNTS = {"classes": 2, "train": 262_144, "validation": 32_768, "test": 32_768}
SHORT = {"train": "train", "validation": "valid", "test": "test"}


class PCam:
    """Read from the middle of its files, which therefore have to be unpacked (`gunzip --keep`)."""

    splits = SPLITS
    counts = COUNTS

    def __init__(self, files: Files, *, nonstandard: bool = False) -> None:
        self._files = files
        self.classes = ["lymph node", "lymph node with tumour tissue"]
        self._splits = Splits("pcam", self.classes, COUNTS, self._read, own=THREE, nonstandard=nonstandard)

    def split(self, name: str) -> Samples:
        return self._splits.get(name)

    def _read(self, name: str) -> Samples:
        images, listed = (f"camelyonpatch_level_2_split_{SHORT[name]}_{what}.h5" for what in "xy")
        self._files.require(images, listed)
        pixels = dataset(self._files, images, "x")
        labels = np.asarray(dataset(self._files, listed, "y")).reshape(-1).astype(np.int64)  # (N, 1, 1, 1)
        if pixels.shape != (len(labels), 96, 96, 3) or pixels.dtype != np.uint8:
            raise VltkError(
                f"{images} has {pixels.dtype} of shape {pixels.shape} for {len(labels):,} labels; "
                f"uint8 of ({len(labels)}, 96, 96, 3) is expected: it is cut, or another file"
            )
        keys = [f"{SHORT[name]}/{row:06d}" for row in range(len(labels))]
        return Samples(name, keys, labels, Raw(pixels), listed)
