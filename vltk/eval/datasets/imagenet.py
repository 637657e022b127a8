"""ImageNet (ILSVRC 2012), 1,000 classes: train as class folders, val as class folders or flat with the devkit.

Official counts: 1,281,167 train, 50,000 val. The labels of the official test are private, so val is the test. Classes
are numbered by sorted WordNet id, not by the ids of the devkit. One "JPEG" is a PNG and some are CMYK: they are decoded
as what they are.
"""

from __future__ import annotations

import numpy as np

from vltk.errors import VltkError
from vltk.eval.datasets._contract import Files
from vltk.eval.datasets._folders import class_folders, images
from vltk.eval.datasets._images import Encoded
from vltk.eval.datasets._lists import lines, number, numbers
from vltk.eval.datasets._matlab import variable
from vltk.eval.datasets._samples import Samples
from vltk.eval.datasets._splits import SPLITS, TWO, Splits

COUNTS = {"classes": 1000, "trainval": 1_281_167, "test": 50_000}
META = "ILSVRC2012_devkit_t12/data/meta.mat"
TRUTH = "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt"


class ImageNet:
    """Class names are the first synonyms of the devkit; without it, the WordNet ids of the folders of train."""

    splits = SPLITS
    counts = COUNTS

    def __init__(self, files: Files, *, nonstandard: bool = False) -> None:
        self._files = files
        synsets = self._synsets()
        self._wnids = sorted(synsets)
        self.classes = [synsets[wnid] for wnid in self._wnids]
        self._splits = Splits("imagenet", self.classes, COUNTS, self._read, own=TWO, nonstandard=nonstandard)

    def split(self, name: str) -> Samples:
        return self._splits.get(name)

    def _synsets(self) -> dict[str, str]:
        if not self._files.exists(META):
            return {path.split("/")[-2]: path.split("/")[-2] for path in images(self._files, "train")}
        return {str(row["WNID"]): str(row["words"]).split(",")[0] for row in self._leaves()}

    def _leaves(self) -> np.ndarray:
        """The rows of the devkit that are classes: the tree's inner nodes have children."""
        rows = np.atleast_1d(variable(self._files, META, "synsets"))
        leaves: np.ndarray = rows[rows["num_children"] == 0]
        return leaves

    def _read(self, name: str) -> Samples:
        if name == "trainval":
            return class_folders(self._files, "train", numbers(self._wnids), name, keys="train/")
        if any(path.count("/") == 2 for path in self._files.names("val/*/*")):
            return class_folders(self._files, "val", numbers(self._wnids), name, keys="val/")
        return self._flat(name)

    def _flat(self, name: str) -> Samples:
        """The n-th image by name has the id in line n of the ground truth."""
        self._files.require(META, TRUTH)
        paths, ids = images(self._files, "val", levels=1), lines(self._files, TRUTH)
        if len(ids) != len(paths):
            raise VltkError(f"{TRUTH} has {len(ids):,} lines for {len(paths):,} images in val: one of them is cut")
        place = numbers(self._wnids)
        label = {int(row["ILSVRC2012_ID"]): place[str(row["WNID"])] for row in self._leaves()}
        labels = [label.get(number(one, TRUTH, path), -1) for one, path in zip(ids, paths, strict=True)]
        return Samples(name, paths, np.array(labels, np.int64), Encoded(self._files, paths), TRUTH)
