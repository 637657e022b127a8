"""The embedded default data set: scenes written as ordinary shards, the same bytes for the same seed and sizes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vltk.data.shapes.draw import draw, encode
from vltk.data.shapes.language import captions
from vltk.data.shapes.questions import questions
from vltk.data.shapes.sample import SPLITS, sample_scene
from vltk.data.shapes.scene import Scene, Thing
from vltk.data.shapes.stories import story
from vltk.data.shapes.vocabulary import vocabulary
from vltk.data.shard import Manifest, Record, write_dataset
from vltk.errors import VltkError

SIZES = {"train": 8000, "dev": 500, "test": 1000, "heldout": 500, "images": 4000, "text": 8000}  # samples
VERSION = 3  # of what is drawn and said: count up when equal seeds give other bytes


class Shapes:
    """Pairs (train, dev, test, heldout), images and texts; a size of 0 leaves a part out."""

    def __init__(
        self,
        *,
        seed: int = 0,
        train: int = SIZES["train"],
        dev: int = SIZES["dev"],
        test: int = SIZES["test"],
        heldout: int = SIZES["heldout"],
        images: int = SIZES["images"],
        text: int = SIZES["text"],
    ) -> None:
        self.seed = seed
        self.sizes = dict(train=train, dev=dev, test=test, heldout=heldout, images=images, text=text)

    def write(self, root: Path, *, replace: bool = False, tell: Callable[[str], None] = lambda line: None) -> None:
        """Write `shapes/SPLIT` and `shapes/vocab.txt` below the data folder; an equal part is kept or replaced.

        Raises VltkError when a data set of other sizes or another seed stands there.
        """
        _write_vocabulary(root / "shapes" / "vocab.txt")
        for split, size in self.sizes.items():
            folder = root / "shapes" / split
            source = {"kind": "shapes", "version": VERSION, "split": split, "seed": self.seed, "size": size}
            if size and (replace or not _stands(folder, source)):
                write_dataset(folder, records(self.seed, split, size), source, replace=replace)
                tell(f"shapes/{split}: {size:,} samples")


def generate(
    root: Path, seed: int = 0, sizes: Mapping[str, int] | None = None, *, replace: bool = False
) -> dict[str, Manifest]:
    """Write the data sets below `root` (default sizes where `sizes` names none) and return their manifests by split."""
    unknown = set(sizes or {}) - set(SIZES)
    if unknown:
        raise VltkError(f"shapes has no part {', '.join(sorted(unknown))}; have: {', '.join(SIZES)}")
    shapes = Shapes(seed=seed, **(sizes or {}))
    shapes.write(root, replace=replace)
    return {split: _manifest(root / "shapes" / split) for split, size in shapes.sizes.items() if size}


def records(seed: int, split: str, size: int) -> Iterator[Record]:
    """The samples of a split in order: texts alone for `text`, images alone for `images`, else both."""
    if split == "text":
        yield from (_text(seed, index) for index in range(size))
    elif split == "images":
        for index in range(size):
            scene = sample_scene(seed, split, index)
            yield Record(f"{split}-{index:05d}", encode(draw(scene)), [], labels(scene))
    else:
        yield from _pairs(seed, split, size)


def labels(scene: Scene) -> dict[str, Any]:
    """What probes and tasks may ask of a scene; `change` is the respect in which its twin differs."""
    largest = scene.largest.look
    return {
        "count": len(scene.things),
        "largest_color": largest.color,
        "largest_shape": largest.shape,
        "largest_texture": largest.texture,
        "background": scene.backdrop.kind,
        "tint": scene.backdrop.tint,
        "has_heldout": scene.has_heldout,
        "change": scene.change,
        "objects": [_described(thing) for thing in scene.things],
    }


def _described(thing: Thing) -> list[str | float]:
    """Colour, shape, size, texture, x, y, diameter."""
    return [*thing.look, round(thing.x, 1), round(thing.y, 1), round(thing.diameter, 1)]


def _pairs(seed: int, split: str, size: int) -> Iterator[Record]:
    """Twins drawn again until their first captions, which say all, were not said before in the split."""
    seen: set[str] = set()
    for first in range(0, size, 2):
        attempt = 0
        while True:
            twins = [_pair(seed, split, index, attempt) for index in (first, first + 1)]
            said = {twin.texts[0] for twin in twins}
            if len(said) == len(twins) and seen.isdisjoint(said):
                break
            attempt += 1
        seen.update(said)
        yield from twins[: size - first]


def _pair(seed: int, split: str, index: int, attempt: int) -> Record:
    scene = sample_scene(seed, split, index, attempt)
    rng = np.random.default_rng([seed, SPLITS.index(split), index, attempt, 1])
    texts = captions(scene, rng)
    meta = {**labels(scene), "questions": questions(scene, rng)}
    return Record(f"{split}-{index:05d}", encode(draw(scene)), texts, meta)


def _text(seed: int, index: int) -> Record:
    rng = np.random.default_rng([seed, SPLITS.index("text"), index, 0, 1])
    kind, text = story(sample_scene(seed, "text", index), rng)
    return Record(f"text-{index:05d}", None, [text], {"kind": kind})


def _write_vocabulary(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text("\n".join(vocabulary()) + "\n", encoding="utf-8")
    os.replace(part, path)


def _stands(folder: Path, source: dict[str, Any]) -> bool:
    """Whether the folder holds the complete data set of exactly this source."""
    return (folder / "manifest.json").exists() and _manifest(folder).source == source


def _manifest(folder: Path) -> Manifest:
    return Manifest(**json.loads((folder / "manifest.json").read_text(encoding="utf-8")))
