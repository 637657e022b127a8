"""SUN397: 397 kinds of scenes, ten official partitions.

Official counts of each partition: 19,850 training and 19,850 testing, 50 a class each; no validation. There are 108,754
images in all.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from vltk.eval.datasets._contract import Files
from vltk.eval.datasets._images import Encoded
from vltk.eval.datasets._lists import class_number, lines, numbers, require_all
from vltk.eval.datasets._names import words
from vltk.eval.datasets._rules import portions, scaled
from vltk.eval.datasets._samples import Samples
from vltk.eval.datasets._splits import SPLITS, TWO, Splits

COUNTS = {"classes": 397, "trainval": 19_850, "test": 19_850}
FOLDER = "SUN397"
PREFIX = {"trainval": "Training", "test": "Testing"}
EACH, SEED = 50, "vltk sun397 1"
RULE = f"{EACH} and {EACH} of each class for trainval and test, seed '{SEED}'"


class Sun397:
    """`partition` 1 to 10 needs its two lists. None: the first one where it is there, else a rule of the same sizes."""

    splits = SPLITS
    counts = COUNTS

    def __init__(
        self, files: Files, *, partition: Annotated[int, Field(ge=1, le=10)] | None = None, nonstandard: bool = False
    ) -> None:
        self._files = files
        lists = {name: f"{prefix}_{partition or 1:02d}.txt" for name, prefix in PREFIX.items()}
        self._listed = partition is not None or any(files.exists(path) for path in lists.values())
        files.require(f"{FOLDER}/ClassName.txt", *(lists.values() if self._listed else ()))
        self._lists = lists
        self._scenes = lines(files, f"{FOLDER}/ClassName.txt")  # as /a/apartment_building/outdoor
        self.classes = [words(scene[3:].replace("/", ", ")) for scene in self._scenes]
        self._splits = Splits("sun397", self.classes, COUNTS, self._read, own=TWO, nonstandard=nonstandard)

    def split(self, name: str) -> Samples:
        return self._splits.get(name)

    def _read(self, name: str) -> Samples:
        if self._listed:
            return self._samples(name, lines(self._files, self._lists[name]), self._lists[name])
        found = [path.removeprefix(FOLDER) for path in self._files.names(f"{FOLDER}/*.jpg")]
        if not found:
            self._files.require(f"{FOLDER}/*.jpg")
        whole = self._samples(name, found, FOLDER)
        masks = portions(whole.keys, whole.labels, SEED, lambda count: scaled([EACH, EACH], count))
        return whole.part(name, masks[TWO.index(name)], RULE)

    def _samples(self, name: str, keys: list[str], source: str) -> Samples:
        """A key is /a/abbey/sun_NAME.jpg."""
        place = numbers(self._scenes)
        labels = [class_number(key.rpartition("/")[0], place, source, key) for key in keys]
        paths = [f"{FOLDER}{key}" for key in keys]
        require_all(self._files, paths, source)
        return Samples(name, keys, np.array(labels, np.int64), Encoded(self._files, paths), source)
