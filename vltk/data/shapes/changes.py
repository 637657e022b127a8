"""In what a scene and its twin differ: one respect, each of which a full caption tells."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np

from vltk.data.shapes.lexicon import BACKGROUNDS, COLORS, SHAPES, SIZES, TEXTURES, TINTS
from vltk.data.shapes.scene import DETAILED, Backdrop, Content, Look, pick

Change = Callable[[np.random.Generator, Content], Content | None]  # None: not possible here, draw again
_SIZES = tuple(SIZES)


def _change_look(field: str, values: tuple[str, ...]) -> Change:
    def change(rng: np.random.Generator, content: Content) -> Content | None:
        number = int(rng.integers(len(content.looks)))
        look = content.looks[number]._replace(**{field: pick(rng, values)})
        return None if look == content.looks[number] else _with_looks(content, {number: look})

    return change


def _change_size(rng: np.random.Generator, content: Content) -> Content | None:
    twin = _change_look("size", _SIZES)(rng, content)
    return twin if twin and _has_one_largest(twin) else None


def _change_background(rng: np.random.Generator, content: Content) -> Content | None:
    kind, tint = content.backdrop
    backdrop = Backdrop(pick(rng, BACKGROUNDS), tint) if rng.random() < 0.5 else Backdrop(kind, pick(rng, tuple(TINTS)))
    return None if backdrop == content.backdrop else content._replace(backdrop=backdrop)


def _remove_one(rng: np.random.Generator, content: Content) -> Content | None:
    return content._replace(looks=content.looks[:-1])


def _swap_colors(rng: np.random.Generator, content: Content) -> Content | None:
    i, j = pick(rng, list(combinations(range(len(content.looks)), 2)))
    a, b = content.looks[i], content.looks[j]
    if a.color == b.color:
        return None
    return _with_looks(content, {i: a._replace(color=b.color), j: b._replace(color=a.color)})


def _swap_places(rng: np.random.Generator, content: Content) -> Content | None:
    i, j = pick(rng, list(combinations(range(len(content.looks)), 2)))
    a, b = content.looks[i], content.looks[j]
    if (a.color, a.shape) == (b.color, b.shape):
        return None
    return _with_looks(content, {i: b._replace(size=a.size), j: a._replace(size=b.size)})


def _with_looks(content: Content, changed: dict[int, Look]) -> Content:
    return content._replace(looks=tuple(changed.get(n, look) for n, look in enumerate(content.looks)))


def _has_one_largest(content: Content) -> bool:
    ranks = [_SIZES.index(look.size) for look in content.looks]
    return all(rank < ranks[0] for rank in ranks[1:])


CHANGES: dict[str, tuple[int, int, Change]] = {  # name -> fewest and most objects, how
    "color": (1, 5, _change_look("color", tuple(COLORS))),
    "shape": (1, 5, _change_look("shape", tuple(SHAPES))),
    "texture": (1, DETAILED, _change_look("texture", TEXTURES)),
    "size": (1, DETAILED, _change_size),
    "background": (1, 5, _change_background),
    "count": (2, 5, _remove_one),
    "swap_colors": (2, 5, _swap_colors),
    "swap_places": (2, 5, _swap_places),
}
