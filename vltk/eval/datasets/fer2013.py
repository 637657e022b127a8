"""FER2013: faces of 7 emotions, 48 x 48 greys.

Official counts: 28,709 Training, 3,589 PublicTest (the validation), 3,589 PrivateTest (the test).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from vltk.errors import VltkError
from vltk.eval.datasets._contract import Files
from vltk.eval.datasets._folders import class_folders
from vltk.eval.datasets._images import Raw
from vltk.eval.datasets._lists import number, numbers
from vltk.eval.datasets._samples import Samples
from vltk.eval.datasets._splits import SPLITS, THREE, Splits

COUNTS = {"classes": 7, "train": 28_709, "validation": 3_589, "test": 3_589}
USAGES = {"train": "Training", "validation": "PublicTest", "test": "PrivateTest"}
CLASSES = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]
TABLES = ("fer2013.csv", "icml_face_data.csv")
SIZE = 48


class Fer2013:
    """Where both tables are absent, class folders `Training|PublicTest|PrivateTest/CLASS/` are read, as in some copies.

    `train.csv` and `test.csv` of the competition do not do: test has no labels there.
    """

    splits = SPLITS
    counts = COUNTS

    def __init__(self, files: Files, *, nonstandard: bool = False) -> None:
        self._files = files
        self.classes = CLASSES
        self._splits = Splits("fer2013", self.classes, COUNTS, self._read, own=THREE, nonstandard=nonstandard)

    def split(self, name: str) -> Samples:
        return self._splits.get(name)

    def _read(self, name: str) -> Samples:
        usage = USAGES[name]
        path = next((path for path in TABLES if self._files.exists(path)), None)
        if path is None and self._files.exists(usage):
            return class_folders(self._files, usage, numbers(CLASSES), name, keys=f"{usage}/")
        self._files.require(path or TABLES[0])
        return self._table(path or TABLES[0], name)

    def _table(self, path: str, name: str) -> Samples:
        keys, labels, faces = [], [], []
        with self._files.open(path) as file:
            for line, row in enumerate(_rows(file, path), 2):
                place = f"line {line}"
                usage = (row["Usage"] or "").strip()
                if usage not in USAGES.values():
                    raise VltkError(f"{path}, {place}: Usage is '{usage}': it is cut short; bring it again")
                if usage == USAGES[name]:
                    keys.append(f"{usage}/{line - 2:05d}")
                    labels.append(number(row["emotion"], path, place))
                    faces.append(_face(row["pixels"], path, place))
        pixels = np.stack(faces) if faces else np.empty((0, SIZE, SIZE), np.uint8)
        return Samples(name, keys, np.array(labels, np.int64), Raw(pixels), path)


def _rows(file: BinaryIO, path: str) -> Iterator[dict[str, str]]:
    """The lines by column. Raises VltkError where a column is absent, or the file is no table."""
    table = csv.DictReader(io.TextIOWrapper(file, encoding="utf-8"), skipinitialspace=True)
    try:
        columns = [column.strip() for column in table.fieldnames or ()]  # some have spaces before
        if absent := {"emotion", "pixels", "Usage"} - set(columns):
            raise VltkError(f"{path} has no column {', '.join(sorted(absent))}; it has: {', '.join(columns) or 'none'}")
        table.fieldnames = columns
        yield from table
    except (csv.Error, UnicodeDecodeError, EOFError) as error:
        raise VltkError(f"{path} is damaged or cut short: {error}; bring it again") from None


def _face(pixels: Any, path: str, place: str) -> NDArray[np.uint8]:
    """(48, 48). Raises VltkError for another number of values, or values that are no bytes."""
    try:
        face = np.fromstring(str(pixels), np.int64, sep=" ")
    except ValueError as error:
        raise VltkError(f"{path}, {place}: {error}") from None
    if len(face) != SIZE**2 or face.min() < 0 or face.max() > 255:
        raise VltkError(
            f"{path}, {place}: {len(face)} pixels where {SIZE**2} of 0 to 255 are expected: it is cut short"
        )
    return face.astype(np.uint8).reshape(SIZE, SIZE)
