"""German Traffic Sign Recognition Benchmark: 43 signs, in tracks of 30 frames of one sign.

Official counts: 26,640 training images of the competition of 2011 (as CLIP's), or 39,209 of the final set; 12,630 test;
no validation: it is held out by whole tracks, as frames of one track are nearly alike.
"""

from __future__ import annotations

import csv
from typing import Literal

import numpy as np

from vltk.errors import Missing, VltkError
from vltk.eval.datasets._contract import Files
from vltk.eval.datasets._folders import class_folders
from vltk.eval.datasets._images import Encoded
from vltk.eval.datasets._lists import number, numbers, require_all, text
from vltk.eval.datasets._names import names
from vltk.eval.datasets._samples import Samples
from vltk.eval.datasets._splits import SPLITS, TWO, Splits

COUNTS = {"classes": 43, "trainval": 26_640, "test": 12_630}
FINAL_COUNTS = COUNTS | {"trainval": 39_209}
FOLDERS = {"competition": "GTSRB/Training", "final": "GTSRB/Final_Training/Images"}
TEST, TRUTH, TEST_FOLDERS = "GTSRB/Final_Test/Images", "GT-final_test.csv", "GTSRB/Test"


class Gtsrb:
    """`training` is the competition's or the final set; None: the one that is there.

    Where `GT-final_test.csv` is absent, test may also lie in class folders `GTSRB/Test/CCCCC/`, as in some copies.
    """

    splits = SPLITS

    def __init__(
        self, files: Files, *, training: Literal["competition", "final"] | None = None, nonstandard: bool = False
    ) -> None:
        self._files = files
        self._codes = list(names("gtsrb"))
        self.classes = list(names("gtsrb").values())
        self._training = training or self._there()
        self.counts = FINAL_COUNTS if self._training == "final" else COUNTS
        self._splits = Splits(
            "gtsrb", self.classes, self.counts, self._read, own=TWO, nonstandard=nonstandard, group=_track
        )

    def split(self, name: str) -> Samples:
        return self._splits.get(name)

    def _there(self) -> str:
        there = [name for name, folder in FOLDERS.items() if self._files.exists(folder)]
        if len(there) > 1:
            folders = " and ".join(FOLDERS.values())
            raise VltkError(f"gtsrb: {folders} are both there; say which, as training: competition (CLIP's) or final")
        return there[0] if there else "competition"

    def _read(self, name: str) -> Samples:
        if name == "trainval":
            return self._checked(class_folders(self._files, FOLDERS[self._training], numbers(self._codes), name))
        if not self._files.exists(TRUTH) and self._files.exists(TEST_FOLDERS):
            return class_folders(self._files, TEST_FOLDERS, numbers(self._codes), name)
        rows = self._rows(TRUTH)
        keys = [key for key, _ in rows]
        paths = [f"{TEST}/{key}" for key in keys]
        require_all(self._files, paths, TRUTH)
        return Samples(name, keys, np.array([label for _, label in rows], np.int64), Encoded(self._files, paths), TRUTH)

    def _checked(self, samples: Samples) -> Samples:
        """Raises VltkError where the list in a class folder says otherwise than the folder."""
        found = set(samples.keys)
        for label, code in enumerate(self._codes):
            listed = f"{samples.source}/{code}/GT-{code}.csv"
            for key, said in self._rows(listed) if self._files.exists(listed) else []:
                if said != label:
                    raise VltkError(f"{listed}: {key} is of class {said}, but lies in the folder of class {label}")
                if f"{code}/{key}" not in found:
                    raise Missing(f"gtsrb: {listed} names {key},", [("which is not there", "bring the folder again")])
        return samples

    def _rows(self, path: str) -> list[tuple[str, int]]:
        """Image and class number of each line of a list."""
        rows = list(csv.DictReader(text(self._files, path).splitlines(), delimiter=";"))
        if not rows or not all(row.get("Filename") and row.get("ClassId") for row in rows):
            raise VltkError(f"{path} has a line without Filename and ClassId: it is cut short, or another file")
        return [(row["Filename"], number(row["ClassId"], path, row["Filename"])) for row in rows]


def _track(key: str) -> str:
    """CCCCC/TRACK of a key CCCCC/TRACK_FRAME.ppm."""
    return key.rpartition("_")[0]
