"""Sampling scenes: a pure function of (seed, split, index).

Scenes come in twins, 2k and 2k+1, that differ in one respect (`changes.py`): whoever tells all scenes of a split apart
has to see every property, not a few. A scene's split follows from a checksum of its content, so that no combination of
objects and background stands in two of train, dev and test.
"""

from __future__ import annotations

import zlib
from functools import lru_cache

import numpy as np

from vltk.data.shapes.changes import CHANGES
from vltk.data.shapes.lexicon import BACKGROUNDS, COLORS, HELD_OUT, SHAPES, SIZES, TEXTURES, TINTS
from vltk.data.shapes.scene import SIDE, Backdrop, Content, Look, Scene, Thing, pick

SPLITS = ("train", "dev", "test", "heldout", "images", "text")
BUCKETS = 16  # of the checksum; heldout is apart by its pairs, train, images and text share what dev and test leave
BUCKETS_OF = {"dev": {0, 1}, "test": {2, 3, 4}}
TRAIN_BUCKETS = set(range(5, BUCKETS))

_COLORS, _SHAPES, _SIZES, _TINTS = tuple(COLORS), tuple(SHAPES), tuple(SIZES), tuple(TINTS)
_HELD_OUT = frozenset(HELD_OUT)
_COUNTS = np.cumsum([0.19, 0.19, 0.2, 0.2, 0.22])  # some twins have one object less, so that all counts come out alike
COMMON = ("shape", "shape", "shape", "color", "nothing")  # what all objects of a scene have in common, each as likely
_PATIENCE = 300  # draws before another scene is drawn: some changes do not exist, some objects find no room
_MIN_GAP = 6.0  # pixels between any two centres, along x: left and right are never in doubt


def sample_scene(seed: int, split: str, index: int, attempt: int = 0) -> Scene:
    """Scene `index` of a split; `attempt` asks for another one in its place."""
    return sample_twins(seed, split, index // 2, attempt)[index % 2]


@lru_cache(maxsize=2)  # the second twin is asked for right after the first
def sample_twins(seed: int, split: str, group: int, attempt: int = 0) -> tuple[Scene, Scene]:
    """Two scenes with equal places that differ in one respect."""
    rng = np.random.default_rng([seed, SPLITS.index(split), group, attempt])
    while True:
        change, contents = _sample_contents(rng, split)
        count = len(contents[0].looks)  # the twin may have one less
        fractions, turns = rng.random(count), rng.uniform(-1, 1, count)
        diameters = [_diameters(content, fractions) for content in contents]
        widest = np.maximum(diameters[0], np.pad(diameters[1], (0, count - len(diameters[1]))))
        places = _place(rng, widest)
        if places is not None:
            break
    noise = int(rng.integers(2**31))
    first, second = (
        Scene(_things(content, places, width, turns), content.backdrop, change, noise)
        for content, width in zip(contents, diameters, strict=True)
    )
    return first, second


def fits(split: str, content: Content) -> bool:
    """Whether this content belongs to the split."""
    held_out = any(look.held_out for look in content.looks)
    if split == "heldout":
        return held_out
    text = " ".join(sorted("-".join(look) for look in content.looks)) + "-".join(content.backdrop)
    return not held_out and zlib.crc32(text.encode()) % BUCKETS in BUCKETS_OF.get(split, TRAIN_BUCKETS)


def _sample_contents(rng: np.random.Generator, split: str) -> tuple[str, tuple[Content, Content]]:
    while True:
        count = 1 + int(np.searchsorted(_COUNTS, rng.random()))
        change = pick(rng, [kind for kind, (fewest, most, _) in CHANGES.items() if fewest <= count <= most])
        for _ in range(_PATIENCE):
            content = Content(_sample_looks(rng, count, split == "heldout"), _sample_backdrop(rng))
            twin = CHANGES[change][2](rng, content)
            if twin is not None and fits(split, content) and fits(split, twin):
                return change, (content, twin)


def _sample_backdrop(rng: np.random.Generator) -> Backdrop:
    return Backdrop(pick(rng, BACKGROUNDS), pick(rng, _TINTS))


def _sample_looks(rng: np.random.Generator, count: int, with_heldout: bool) -> tuple[Look, ...]:
    pairs = _sample_pairs(rng, count, with_heldout)
    rng.shuffle(pairs)  # a held-out pair is the largest object only by chance
    sizes = _sample_sizes(rng, count)
    return tuple(
        Look(color, shape, size, _sample_texture(rng)) for (color, shape), size in zip(pairs, sizes, strict=True)
    )


def _sample_pairs(rng: np.random.Generator, count: int, with_heldout: bool) -> list[tuple[str, str]]:
    """Colour and shape of each object; in most scenes all objects have one colour, or all have one shape."""
    common = pick(rng, COMMON)
    pairs: list[tuple[str, str]] = [pick(rng, HELD_OUT)] if with_heldout else []
    while len(pairs) < count:
        color, shape = pick(rng, _COLORS), pick(rng, _SHAPES)
        color = pairs[0][0] if pairs and common == "color" else color
        shape = pairs[0][1] if pairs and common == "shape" else shape
        if (color, shape) not in _HELD_OUT:
            pairs.append((color, shape))
    return pairs


def _sample_sizes(rng: np.random.Generator, count: int) -> list[str]:
    if count == 1:
        return [pick(rng, _SIZES)]
    if rng.random() < 0.3:
        return ["medium"] + ["small"] * (count - 1)
    others = ["medium" if rng.random() < 0.5 else "small" for _ in range(count - 1)]
    return ["large", *others[:2], *["small"] * (count - 3)]


def _sample_texture(rng: np.random.Generator) -> str:
    return TEXTURES[0] if rng.random() < 0.6 else pick(rng, TEXTURES[1:])


def _diameters(content: Content, fractions: np.ndarray) -> np.ndarray:
    low, high = np.array([SIZES[look.size] for look in content.looks]).T
    diameters: np.ndarray = low + fractions[: len(low)] * (high - low)
    return diameters


def _things(content: Content, places: np.ndarray, diameters: np.ndarray, turns: np.ndarray) -> tuple[Thing, ...]:
    return tuple(
        Thing(look, float(x), float(y), float(diameter), float(turn * SHAPES[look.shape]))
        for look, (x, y), diameter, turn in zip(content.looks, places, diameters, turns, strict=False)
    )


def _place(rng: np.random.Generator, diameters: np.ndarray) -> np.ndarray | None:
    """Centres (count, 2) that keep the objects inside, apart, and at different x; None where they hardly fit."""
    radii = diameters / 2 + 1
    margins = radii * 1.1
    for _ in range(_PATIENCE):
        places = np.empty((0, 2))
        for number, (radius, margin) in enumerate(zip(radii, margins, strict=True)):
            tries: np.ndarray = rng.uniform(margin, SIDE - margin, (32, 2))
            offsets = tries[:, None] - places[None]  # (32, placed, 2)
            apart = np.hypot(offsets[..., 0], offsets[..., 1]) >= radius + radii[:number]
            good = np.flatnonzero((apart & (np.abs(offsets[..., 0]) >= _MIN_GAP)).all(1))
            if not len(good):
                break
            places = np.concatenate([places, tries[good[:1]]])
        else:
            return places
    return None
