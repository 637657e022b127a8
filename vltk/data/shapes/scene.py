"""What a scene is: named properties of its objects and its background, and where each object lies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from vltk.data.shapes.lexicon import HELD_OUT

SIDE = 96  # pixels
DETAILED = 3  # up to this many objects a full caption names sizes and textures too

_HELD_OUT = frozenset(HELD_OUT)
_Option = TypeVar("_Option")


class Look(NamedTuple):
    """The named properties of an object."""

    color: str
    shape: str
    size: str
    texture: str

    @property
    def held_out(self) -> bool:
        """Whether training never shows this colour with this shape."""
        return (self.color, self.shape) in _HELD_OUT


class Backdrop(NamedTuple):
    """The named properties of the background."""

    kind: str
    tint: str


class Thing(NamedTuple):
    """An object in its place: centre and diameter in pixels, angle in degrees."""

    look: Look
    x: float
    y: float
    diameter: float
    angle: float


class Scene(NamedTuple):
    """1 to 5 objects, the first the largest by a clear margin, before a background.

    `change` says in what the scene and its twin differ; `seed` keys what has no name (light, noise, slants).
    """

    things: tuple[Thing, ...]
    backdrop: Backdrop
    change: str
    seed: int

    @property
    def largest(self) -> Thing:
        """The object of the largest diameter."""
        return self.things[0]

    @property
    def has_heldout(self) -> bool:
        """Whether a pair that training never shows is in it."""
        return any(thing.look.held_out for thing in self.things)


class Content(NamedTuple):
    """A scene before its objects have places."""

    looks: tuple[Look, ...]
    backdrop: Backdrop


def scene_of(labels: Mapping[str, Any]) -> Scene | None:
    """The scene that the labels of a sample describe (sources/shapes.py), up to what has no name; None where none."""
    if not {"objects", "background", "tint", "change"} <= labels.keys():
        return None
    things = tuple(Thing(Look(*one[:4]), one[4], one[5], one[6], 0.0) for one in labels["objects"])
    return Scene(things, Backdrop(labels["background"], labels["tint"]), labels["change"], seed=0)


def pick(rng: np.random.Generator, options: Sequence[_Option]) -> _Option:
    """One of the options, each as likely (`rng.choice` is slow for one)."""
    return options[int(rng.integers(len(options)))]
