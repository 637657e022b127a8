"""Caltech-101: 101 kinds of things and a class of background.

Official counts: 9,144 images, 467 of them background; no official split. A rule of ours takes 30 of each class as
trainval and all others as test: 3,060 and 6,084 of 102 classes (sizes as CLIP's), 3,030 and 5,647 without background.
"""

from __future__ import annotations

from functools import cached_property

from vltk.eval.datasets._contract import Files
from vltk.eval.datasets._folders import class_folders
from vltk.eval.datasets._lists import numbers
from vltk.eval.datasets._names import names
from vltk.eval.datasets._rules import portions
from vltk.eval.datasets._samples import Samples
from vltk.eval.datasets._splits import SPLITS, TWO, Splits

COUNTS = {"classes": 102, "trainval": 3_060, "test": 6_084}
WITHOUT_BACKGROUND = {"classes": 101, "trainval": 3_030, "test": 5_647}
FOLDER, BACKGROUND = "101_ObjectCategories", "BACKGROUND_Google"
EACH, SEED = 30, "vltk caltech101 1"
RULE = f"{EACH} of each class for trainval, the others for test, seed '{SEED}'"


class Caltech101:
    """`background` is the first of 102 classes, as in CLIP, or left out."""

    splits = SPLITS

    def __init__(self, files: Files, *, background: bool = True, nonstandard: bool = False) -> None:
        self._files, self._background = files, background
        self._names = {
            folder: name for folder, name in names("caltech101").items() if background or folder != BACKGROUND
        }
        self.classes = list(self._names.values())
        self.counts = COUNTS if background else WITHOUT_BACKGROUND
        self._splits = Splits("caltech101", self.classes, self.counts, self._read, own=TWO, nonstandard=nonstandard)

    def split(self, name: str) -> Samples:
        return self._splits.get(name)

    def _read(self, name: str) -> Samples:
        masks = portions(self._all.keys, self._all.labels, SEED, _cut)
        return self._all.part(name, masks[TWO.index(name)], RULE)

    @cached_property
    def _all(self) -> Samples:
        place = numbers(list(self._names))
        if self._background:
            return class_folders(self._files, FOLDER, place, "all")
        whole = class_folders(self._files, FOLDER, {**place, BACKGROUND: -1}, "all")
        return whole.part("all", whole.labels >= 0, RULE)


def _cut(count: int) -> tuple[int, int]:
    """Trainval and test of a class; a class that is too small for it leaves one for test."""
    first = min(EACH, count - 1)
    return first, count - first
