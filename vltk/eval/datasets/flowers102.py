"""Oxford Flowers-102.

Official counts: 1,020 train, 1,020 validation, 6,149 test: the small ones are train and validation.
"""

from __future__ import annotations

import numpy as np

from vltk.errors import VltkError
from vltk.eval.datasets._contract import Files
from vltk.eval.datasets._images import Encoded
from vltk.eval.datasets._lists import require_all
from vltk.eval.datasets._matlab import variable
from vltk.eval.datasets._names import names
from vltk.eval.datasets._samples import Samples
from vltk.eval.datasets._splits import SPLITS, THREE, Splits

COUNTS = {"classes": 102, "train": 1_020, "validation": 1_020, "test": 6_149}
IDS = {"train": "trnid", "validation": "valid", "test": "tstid"}
LABELS, SETS = "imagelabels.mat", "setid.mat"


class Flowers102:
    splits = SPLITS
    counts = COUNTS

    def __init__(self, files: Files, *, nonstandard: bool = False) -> None:
        files.require(LABELS, SETS)
        self._files = files
        self.classes = list(names("flowers102").values())
        self._splits = Splits("flowers102", self.classes, COUNTS, self._read, own=THREE, nonstandard=nonstandard)

    def split(self, name: str) -> Samples:
        return self._splits.get(name)

    def _read(self, name: str) -> Samples:
        labels = np.atleast_1d(variable(self._files, LABELS, "labels")).astype(np.int64)
        ids = np.atleast_1d(variable(self._files, SETS, IDS[name])).astype(np.int64)
        if len(ids) and not 1 <= ids.min() <= ids.max() <= len(labels):
            raise VltkError(
                f"{SETS} names images {ids.min()} to {ids.max()}, but {LABELS} has labels for {len(labels):,}"
            )
        paths = [f"jpg/image_{one:05d}.jpg" for one in ids]
        require_all(self._files, paths, SETS)
        return Samples(name, paths, labels[ids - 1] - 1, Encoded(self._files, paths), LABELS)  # both counted from 1
