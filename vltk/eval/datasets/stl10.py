"""STL-10: 96 x 96 photos of 10 kinds of things, the labelled part.

Official counts: 5,000 train in ten folds of 1,000 (folds share images), 8,000 test; no validation.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from vltk.errors import VltkError
from vltk.eval.datasets._contract import Files
from vltk.eval.datasets._images import Raw
from vltk.eval.datasets._lists import lines, number
from vltk.eval.datasets._samples import Samples
from vltk.eval.datasets._splits import SPLITS, TWO, Splits

COUNTS = {"classes": 10, "trainval": 5_000, "test": 8_000}
FOLD_COUNTS = COUNTS | {"trainval": 1_000}
CLASSES = ["airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck"]
FOLDER, SIZE = "stl10_binary", 96
FOLDS = f"{FOLDER}/fold_indices.txt"


class Stl10:
    """`fold` 0 to 9: trainval is that fold only (CLIP reports the mean over the ten); None: all of it."""

    splits = SPLITS

    def __init__(
        self, files: Files, *, fold: Annotated[int, Field(ge=0, le=9)] | None = None, nonstandard: bool = False
    ) -> None:
        binaries = [f"{FOLDER}/{part}_{what}.bin" for part in ("train", "test") for what in "Xy"]
        files.require(*binaries, *([] if fold is None else [FOLDS]))
        self._files, self._fold = files, fold
        self.classes = CLASSES
        self.counts = COUNTS if fold is None else FOLD_COUNTS
        self._splits = Splits("stl10", self.classes, self.counts, self._read, own=TWO, nonstandard=nonstandard)

    def split(self, name: str) -> Samples:
        return self._splits.get(name)

    def _read(self, name: str) -> Samples:
        part = "test" if name == "test" else "train"
        images, listed = f"{FOLDER}/{part}_X.bin", f"{FOLDER}/{part}_y.bin"
        labels = np.frombuffer(self._files.read(listed), np.uint8).astype(np.int64) - 1  # counted from 1
        data = np.frombuffer(self._files.read(images), np.uint8)
        if len(data) != len(labels) * 3 * SIZE**2:
            raise VltkError(f"{images} has {len(data):,} bytes for {len(labels):,} images: one of the two is cut short")
        pixels = data.reshape(-1, 3, SIZE, SIZE).transpose(0, 3, 2, 1)  # (N, 3, W, H): columns first -> (N, H, W, 3)
        rows = np.arange(len(labels))
        if name != "test" and self._fold is not None:
            rows = self._in_fold(self._fold, len(labels))
            labels, pixels = labels[rows], pixels[rows]  # copied: the others are let go
        keys = [f"{part}/{row:04d}" for row in rows]
        return Samples(name, keys, labels, Raw(pixels), listed)

    def _in_fold(self, fold: int, count: int) -> NDArray[np.int64]:
        """The images that the fold has, in order: line `fold` of the file lists them, counted from 0."""
        folds = lines(self._files, FOLDS)
        if fold >= len(folds):
            raise VltkError(f"{FOLDS} has {len(folds)} folds, and not fold {fold} (counted from 0): it is cut short")
        rows = np.array([number(one, FOLDS, f"fold {fold}") for one in folds[fold].split()], np.int64)
        if len(rows) and not 0 <= rows.min() <= rows.max() < count:
            raise VltkError(f"{FOLDS}: fold {fold} has images {rows.min()} to {rows.max()}, but there are {count:,}")
        return np.unique(rows)
