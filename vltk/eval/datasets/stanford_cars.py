"""Stanford Cars: 196 makes, models and years.

Official counts: 8,144 train, 8,041 test; no validation. The labels of test are in a file of their own,
`cars_test_annos_withlabels.mat`; the `cars_test_annos.mat` of the devkit has none.
"""

from __future__ import annotations

import numpy as np

from vltk.errors import VltkError
from vltk.eval.datasets._contract import Files
from vltk.eval.datasets._images import Encoded
from vltk.eval.datasets._lists import require_all
from vltk.eval.datasets._matlab import variable
from vltk.eval.datasets._samples import Samples
from vltk.eval.datasets._splits import SPLITS, TWO, Splits

COUNTS = {"classes": 196, "trainval": 8_144, "test": 8_041}
META = "devkit/cars_meta.mat"
LISTS = {
    "trainval": ("devkit/cars_train_annos.mat", "cars_train"),
    "test": ("cars_test_annos_withlabels.mat", "cars_test"),
}


class StanfordCars:
    splits = SPLITS
    counts = COUNTS

    def __init__(self, files: Files, *, nonstandard: bool = False) -> None:
        files.require(META, *(path for path, _ in LISTS.values()))
        self._files = files
        self.classes = [str(name) for name in np.atleast_1d(variable(files, META, "class_names"))]
        self._splits = Splits("stanford_cars", self.classes, COUNTS, self._read, own=TWO, nonstandard=nonstandard)

    def split(self, name: str) -> Samples:
        return self._splits.get(name)

    def _read(self, name: str) -> Samples:
        listed, folder = LISTS[name]
        rows = np.atleast_1d(variable(self._files, listed, "annotations"))
        if not {"fname", "class"} <= set(rows.dtype.names or ()):
            raise VltkError(f"{listed} has no labels (fields fname and class): it is another file")
        paths = [f"{folder}/{row['fname']}" for row in rows]
        require_all(self._files, paths, listed)
        labels = np.array([int(row["class"]) - 1 for row in rows], np.int64)  # counted from 1
        return Samples(name, paths, labels, Encoded(self._files, paths), listed)
