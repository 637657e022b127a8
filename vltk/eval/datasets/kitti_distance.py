"""KITTI: how far away the nearest vehicle is, in four classes (VTAB's closest vehicle distance).

Official counts: 7,481 labelled frames, no official split. `videos` is the split by whole drives of TensorFlow Datasets
3.1 to 3.3, which VTAB and CLIP use: 6,347 train, 423 validation, 711 test; it needs the two lists in `mapping/` of the
object devkit. `frames` is a rule of ours with the same sizes that takes single frames: neighbouring frames of a drive
then lie on both sides, and scores are higher.

Classes are numbered from near to far, and not by the alphabet: the smallest z of a Car, Van or Truck, in metres, is up
to 8, up to 20, or more; or there is none of them.
"""

from __future__ import annotations

from functools import cached_property
from typing import Literal

import numpy as np

from vltk.errors import VltkError
from vltk.eval.datasets._contract import Files
from vltk.eval.datasets._images import Encoded
from vltk.eval.datasets._lists import number, require_all, rows, text
from vltk.eval.datasets._rules import portions, scaled
from vltk.eval.datasets._samples import Samples
from vltk.eval.datasets._splits import SPLITS, THREE, Splits

COUNTS = {"classes": 4, "train": 6_347, "validation": 423, "test": 711}
CLASSES = ["a vehicle within 8 metres", "a vehicle 8 to 20 metres away", "a vehicle beyond 20 metres", "no vehicle"]
VEHICLES = ("Car", "Van", "Truck")
NEAR, FAR = 8.0, 20.0  # metres, both belong to the nearer class
FIELDS, Z = 15, 13  # of a line, the third of the location
LABELS, IMAGES = "training/label_2", "training/image_2"
RAND, MAPPING = "mapping/train_rand.txt", "mapping/train_mapping.txt"
SEED = "vltk kitti_distance 1"
RULES = {
    "videos": "whole drives, a tenth of them for test and for validation, as TensorFlow Datasets (seed 123)",
    "frames": f"single frames, seed '{SEED}'",
}


class KittiDistance:
    splits = SPLITS
    counts = COUNTS

    def __init__(
        self, files: Files, *, partition: Literal["videos", "frames"] = "videos", nonstandard: bool = False
    ) -> None:
        self._files, self._partition = files, partition
        self.classes = CLASSES
        self._splits = Splits("kitti_distance", self.classes, COUNTS, self._read, own=THREE, nonstandard=nonstandard)

    def split(self, name: str) -> Samples:
        return self._splits.get(name)

    def _read(self, name: str) -> Samples:
        return self._all.part(name, self._masks[THREE.index(name)], RULES[self._partition])

    @cached_property
    def _masks(self) -> list[np.ndarray]:
        """Train, validation, test, each (N,)."""
        keys = self._all.keys
        if self._partition == "frames":
            sizes = [COUNTS[name] for name in THREE]
            return portions(keys, np.zeros(len(keys), np.int64), SEED, lambda count: scaled(sizes, count))
        drive_of = self._drives()
        frames = [number(key, LABELS, f"{key}.txt") for key in keys]
        if max(frames) >= len(drive_of):
            raise VltkError(f"{RAND} lists {len(drive_of):,} frames, and not {max(frames):06d}: it is cut short")
        of_key = np.array([drive_of[frame] for frame in frames])
        test, validation = _held_drives(sorted(set(drive_of)))
        held = [np.isin(of_key, validation), np.isin(of_key, test)]
        return [~(held[0] | held[1]), *held]

    def _drives(self) -> list[str]:
        """The drive of each frame: `train_rand.txt` has its line in `train_mapping.txt`, counted from 1."""
        self._files.require(RAND, MAPPING)
        lines = rows(self._files, MAPPING, ["DATE", "DRIVE", "FRAME"])
        places = [number(one, RAND, "the list") for one in text(self._files, RAND).replace(",", " ").split()]
        if not places or not 1 <= min(places) <= max(places) <= len(lines):
            raise VltkError(
                f"{RAND} points at lines that {MAPPING} ({len(lines):,} lines) does not have: one is cut short"
            )
        return [lines[place - 1][1] for place in places]

    @cached_property
    def _all(self) -> Samples:
        listed = sorted(path for path in self._files.names(f"{LABELS}/*.txt") if path.count("/") == 2)
        if not listed:
            self._files.require(f"{LABELS}/*.txt")
        keys = [path.split("/")[-1].removesuffix(".txt") for path in listed]  # as 000000
        paths = [f"{IMAGES}/{key}.png" for key in keys]
        require_all(self._files, paths, LABELS)
        labels = [distance_class(nearest(text(self._files, path), path)) for path in listed]
        return Samples("all", keys, np.array(labels, np.int64), Encoded(self._files, paths), LABELS)


def nearest(label: str, path: str) -> float | None:
    """The smallest z of the vehicles of a label file; None where there is none. Raises VltkError with the line."""
    found = []
    for line, fields in enumerate((line.split() for line in label.splitlines()), 1):
        if len(fields) != FIELDS:
            raise VltkError(
                f"{path}:{line}: {len(fields)} fields where {FIELDS} are expected: it is cut short; bring it again"
            )
        if fields[0] in VEHICLES:
            try:
                found.append(float(fields[Z]))
            except ValueError:
                raise VltkError(f"{path}:{line}: '{fields[Z]}' is no number of metres") from None
    return min(found, default=None)


def distance_class(metres: float | None) -> int:
    """The number in `CLASSES`."""
    if metres is None:
        return 3
    return 0 if metres <= NEAR else 1 if metres <= FAR else 2


def _held_drives(drives: list[str]) -> tuple[list[str], list[str]]:
    """Drives of test and of validation: a tenth each, drawn one after the other by NumPy's old generator."""
    draw = np.random.RandomState(123)
    tenth = max(1, len(drives) // 10)
    test = draw.choice(drives, tenth, replace=False).tolist()
    rest = [drive for drive in drives if drive not in test]
    return test, draw.choice(rest, tenth, replace=False).tolist()
