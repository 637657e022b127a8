"""The codes of a sample's crop, read from beside its shard instead of being computed (`vltk.data.codes`)."""

from __future__ import annotations

import numpy as np

from vltk.data.codes import FOLDER, StoredCodes
from vltk.data.dataset import Dataset
from vltk.data.draft import Draft, Draws


class Codes:
    """`codes`: `(N,)` int64. `folders`: by data set, which of its codes (`NAME/codes/ID`); `image.crops` is set."""

    needs = ("image",)

    def __init__(self, *, folders: dict[str, str]) -> None:
        self.folders = folders
        self._opened: dict[str, StoredCodes] = {}

    def __call__(self, draft: Draft, draws: Draws) -> dict[str, np.ndarray]:
        return {"codes": self._stored(draft.dataset).read(draft.dataset.raw(draft.index), draft.crop_number)}

    def _stored(self, dataset: Dataset) -> StoredCodes:
        found = self._opened.get(dataset.name)
        if found is None:
            folder = dataset.folder / FOLDER / self.folders[dataset.name]
            found = self._opened.setdefault(dataset.name, StoredCodes(folder))
        return found
