"""Describable Textures: 47 textures, ten official partitions.

Official counts of each partition: 1,880 train, 1,880 val, 1,880 test.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from vltk.eval.datasets._contract import Files
from vltk.eval.datasets._images import Encoded
from vltk.eval.datasets._lists import class_number, lines, numbers, require_all
from vltk.eval.datasets._names import names
from vltk.eval.datasets._samples import Samples
from vltk.eval.datasets._splits import SPLITS, THREE, Splits

COUNTS = {"classes": 47, "train": 1_880, "validation": 1_880, "test": 1_880}
SHORT = {"train": "train", "validation": "val", "test": "test"}


class Dtd:
    """`partition` 1 to 10; CLIP and FLAVA score the first."""

    splits = SPLITS
    counts = COUNTS

    def __init__(
        self, files: Files, *, partition: Annotated[int, Field(ge=1, le=10)] = 1, nonstandard: bool = False
    ) -> None:
        self._lists = {name: f"dtd/labels/{short}{partition}.txt" for name, short in SHORT.items()}
        files.require(*self._lists.values())
        self._files = files
        self.classes = list(names("dtd"))
        self._splits = Splits("dtd", self.classes, COUNTS, self._read, own=THREE, nonstandard=nonstandard)

    def split(self, name: str) -> Samples:
        return self._splits.get(name)

    def _read(self, name: str) -> Samples:
        listed, place = self._lists[name], numbers(self.classes)
        keys = lines(self._files, listed)  # as banded/banded_0002.jpg
        labels = [class_number(key.split("/")[0], place, listed, key) for key in keys]
        paths = [f"dtd/images/{key}" for key in keys]
        require_all(self._files, paths, listed)
        return Samples(name, keys, np.array(labels, np.int64), Encoded(self._files, paths), listed)
