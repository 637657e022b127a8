"""What a caption states about a scene, one statement at a time, and which of them are true.

A statement is about objects by their numbers in the caption. Who is who follows from the reading that makes most
statements true; of equally good ones it is the one that leaves shapes right, then colours, then relations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np

from vltk.data.shapes.language import ASIDE, third
from vltk.data.shapes.scene import Backdrop, Scene, Thing

KINDS = ("shape", "colour", "relation", "count", "detail")  # detail: size, texture, background
OF_LOOK = {"shape": "shape", "color": "colour", "size": "detail", "texture": "detail"}  # field of a look -> kind
ENDS = {"left": ("x", 1), "right": ("x", -1), "top": ("y", 1), "bottom": ("y", -1)}  # axis, and the way along it
ROUNDED = 0.05  # pixels: stored places have one decimal


@dataclass(frozen=True)
class Statement:
    """True where `holds` says so of the scene and of the objects that it is `about`."""

    kind: str
    holds: Callable[..., bool]
    about: tuple[int, ...] = ()


def judge(scene: Scene, objects: int, statements: Sequence[Statement]) -> dict[str, bool]:
    """Whether all statements of a kind are true, for each kind that is stated; `objects` are spoken of.

    Two of them are never the same thing of the scene; one for which the scene has no thing left makes nothing true.
    """
    things = [*scene.things, *[None] * (objects - len(scene.things))]
    readings = (_true(scene, said, statements) for said in permutations(things, objects))
    return _by_kind(statements, max(readings, key=lambda true: (sum(true), *_by_kind(statements, true).values())))


def _true(scene: Scene, said: Sequence[Thing | None], statements: Sequence[Statement]) -> list[bool]:
    found = []
    for one in statements:
        own = [said[number] for number in one.about]
        found.append(None not in own and one.holds(scene, *own))
    return found


def _by_kind(statements: Sequence[Statement], true: Sequence[bool]) -> dict[str, bool]:
    told = list(zip(statements, true, strict=True))
    stated = {one.kind for one in statements}
    return {kind: all(right for one, right in told if one.kind == kind) for kind in KINDS if kind in stated}


def has(number: int, field: str, value: str) -> Statement:
    """A named property of one object."""
    return Statement(OF_LOOK[field], lambda scene, thing: getattr(thing.look, field) == value, (number,))


def counts(count: int) -> Statement:
    """How many objects there are."""
    return Statement("count", lambda scene: len(scene.things) == count)


def colored(colors: Sequence[str]) -> Statement:
    """Which colours there are, all of them."""
    return Statement("colour", lambda scene: {thing.look.color for thing in scene.things} == {*colors})


def before(backdrop: Backdrop) -> Statement:
    """The background."""
    return Statement("detail", lambda scene: scene.backdrop == backdrop)


def is_largest(number: int) -> Statement:
    """The largest of all."""
    return Statement("detail", lambda scene, thing: thing == scene.largest, (number,))


def lies(relation: str, first: int, second: int) -> Statement:
    """`left`, `right`, `above` or `below`, along the axis on which the two lie farther apart."""
    axis, other = ("x", "y") if relation in ("left", "right") else ("y", "x")

    def holds(scene: Scene, one: Thing, two: Thing) -> bool:
        apart = getattr(two, axis) - getattr(one, axis)
        apart = apart if relation in ("left", "above") else -apart
        return bool(apart > -2 * ROUNDED and apart + 4 * ROUNDED >= abs(getattr(one, other) - getattr(two, other)))

    return Statement("relation", holds, (first, second))


def is_between(middle: int, first: int, second: int) -> Statement:
    """Near the middle of the line from the second to the third, told from left to right."""

    def holds(scene: Scene, a: Thing, b: Thing, c: Thing) -> bool:
        return bool(b.x < c.x and np.hypot(a.x - (b.x + c.x) / 2, a.y - (b.y + c.y) / 2) <= ASIDE + 4 * ROUNDED)

    return Statement("relation", holds, (middle, first, second))


def is_at(number: int, row: int, column: int) -> Statement:
    """In one of the 3 x 3 parts of the picture."""

    def holds(scene: Scene, thing: Thing) -> bool:
        parts = ((row, thing.y), (column, thing.x))
        return all(third(place - ROUNDED) <= part <= third(place + ROUNDED) for part, place in parts)

    return Statement("relation", holds, (number,))


def is_outermost(end: str, number: int) -> Statement:
    """Farthest out of all at one of ENDS."""
    axis, sign = ENDS[end]

    def holds(scene: Scene, thing: Thing) -> bool:
        places = [sign * getattr(one, axis) for one in scene.things]
        return bool(sign * getattr(thing, axis) <= min(places) + 2 * ROUNDED)

    return Statement("relation", holds, (number,))


def are_ordered(axis: str, objects: int) -> Statement:
    """The objects, as they are told, from left to right (`x`) or from top to bottom (`y`)."""

    def holds(scene: Scene, *things: Any) -> bool:
        places = [getattr(thing, axis) for thing in things]
        return places == sorted(places)

    return Statement("relation", holds, tuple(range(objects)))
