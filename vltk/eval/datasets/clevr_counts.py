"""CLEVR: how many objects there are, 3 to 10.

Official counts: 70,000 train and 15,000 val scenes. The scenes of the official test are not published, so val is the
test; no other validation. `subset` takes 2,000 and 500 of them by a rule of ours (CLIP's sizes; which ones it took is
not published). Class numbers are objects - 3: `10` is the last class, and not the first as by the alphabet.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from vltk.data.sources._store import objects
from vltk.errors import VltkError
from vltk.eval.datasets._contract import Files
from vltk.eval.datasets._images import Encoded
from vltk.eval.datasets._lists import require_all
from vltk.eval.datasets._rules import portions, scaled
from vltk.eval.datasets._samples import Samples
from vltk.eval.datasets._splits import SPLITS, TWO, Splits

COUNTS = {"classes": 8, "trainval": 70_000, "test": 15_000}
SUBSET_COUNTS = {"classes": 8, "trainval": 2_000, "test": 500}
FOLDER, FEWEST = "CLEVR_v1.0", 3
SEED = "vltk clevr_counts 1"
HEAD = 1 << 16  # bytes of a scene file in which its list begins


class ClevrCounts:
    splits = SPLITS

    def __init__(self, files: Files, *, subset: bool = False, nonstandard: bool = False) -> None:
        files.require(*(f"{FOLDER}/scenes/CLEVR_{part}_scenes.json" for part in ("train", "val")))
        self._files, self._subset = files, subset
        self.classes = [str(count) for count in range(FEWEST, 11)]
        self.counts = SUBSET_COUNTS if subset else COUNTS
        self._splits = Splits("clevr_counts", self.classes, self.counts, self._read, own=TWO, nonstandard=nonstandard)

    def split(self, name: str) -> Samples:
        return self._splits.get(name)

    def _read(self, name: str) -> Samples:
        part = "train" if name == "trainval" else "val"
        listed = f"{FOLDER}/scenes/CLEVR_{part}_scenes.json"
        scenes = dict(_counted(self._files, listed))
        keys = sorted(scenes)
        labels = np.array([scenes[key] - FEWEST for key in keys], np.int64)
        paths = [f"{FOLDER}/images/{part}/{key}" for key in keys]
        require_all(self._files, paths, listed)
        samples = Samples(name, keys, labels, Encoded(self._files, paths), listed)
        if not self._subset:
            return samples
        size = SUBSET_COUNTS[name]
        chosen, _ = portions(keys, np.zeros_like(labels), SEED, lambda count: scaled([size, 0], count))
        return samples.part(name, chosen, f"{size:,} of {part}, seed '{SEED}'")


def _counted(files: Files, path: str) -> Iterator[tuple[str, int]]:
    """Image and number of objects of each scene; the file is far larger than that, and read in pieces."""
    with files.open(path) as file:
        head = file.read(HEAD)
        start = head.find(b"[", head.find(b'"scenes"'))
        if b'"scenes"' not in head or start < 0:
            raise VltkError(f"{path} has no list of scenes: it is cut short, or another file")
        file.seek(start)
        for scene in objects(file, path):
            yield _field(scene, "image_filename", str, path), len(_field(scene, "objects", list, path))


def _field(scene: dict[str, Any], key: str, kind: type, path: str) -> Any:
    if not isinstance(scene.get(key), kind):
        raise VltkError(f"{path}: scene {scene.get('image_index', '?')} has no '{key}'")
    return scene[key]
