"""The caption grammar: five captions a scene, the first of which says enough to know it among its like."""

from __future__ import annotations

from collections import Counter
from itertools import permutations

import numpy as np

from vltk.data.shapes import phrases
from vltk.data.shapes.lexicon import NUMBERS, SYNONYMS, article, listing, plural
from vltk.data.shapes.scene import DETAILED, SIDE, Look, Scene, Thing, pick

_SYNONYM_RATE = 0.12
_BARE = 0.9  # share of partial captions that name objects by their shape alone, before no background
ASIDE = 12.0  # pixels an object between two others may lie off the line


class Voice:
    """Says parts of a scene; `plain` in the first and plainest words, `bare` objects by shape and no background."""

    def __init__(self, rng: np.random.Generator, plain: bool = False, bare: bool = False) -> None:
        self.rng, self.plain, self.bare = rng, plain, bare

    def pick(self, options: tuple[str, ...]) -> str:
        """One phrase of several; a plain voice too varies its sentences."""
        return pick(self.rng, options)

    def word(self, name: str) -> str:
        """The name itself, or now and then a synonym."""
        if self.plain or name not in SYNONYMS or self.rng.random() >= _SYNONYM_RATE:
            return name
        return pick(self.rng, SYNONYMS[name])

    def look(self, look: Look, *, size: bool = False, texture: bool = False) -> str:
        """`large striped red star`; the medium size and the plain texture go unsaid. Bare: `star`."""
        if self.bare:
            return self.word(look.shape)
        words = [self.word(look.size)] if size and look.size != "medium" else []
        words += [self.word(look.texture)] if texture and look.texture != "plain" else []
        return " ".join([*words, self.word(look.color), self.word(look.shape)])

    def ground(self, scene: Scene) -> str:
        """`on a grey grid`; bare: nothing."""
        if self.bare:
            return ""
        options = phrases.GROUNDS[scene.backdrop.kind]
        return (options[0] if self.plain else self.pick(options)).format(tint=scene.backdrop.tint)

    def place(self, thing: Thing) -> str:
        """`in the top left`."""
        options = phrases.PLACES[third(thing.y), third(thing.x)]
        return options[0] if self.plain else self.pick(options)

    def relation(self, name: str) -> str:
        """`to the left of` for `left`."""
        options = phrases.RELATIONS[name]
        return options[0] if self.plain else self.pick(options)

    def number(self, count: int, things: tuple[str, str] | None = None) -> str:
        """`one object`, `three shapes`; `things` fixes the word."""
        singular, several = things or pick(self.rng, phrases.THINGS)
        return f"{NUMBERS[count]} {singular if count == 1 else several}"

    def groups(self, scene: Scene) -> str:
        """`two red stars and a blue ring`; bare: `two stars and a ring`."""
        looks = [thing.look for thing in self.shuffled(scene)]
        counts = Counter((None if self.bare else look.color, look.shape) for look in looks)
        return listing([self._several(count, color, shape) for (color, shape), count in counts.items()])

    def colors(self, scene: Scene) -> str:
        """`red and blue`, each colour once."""
        return listing(
            [self.word(color) for color in dict.fromkeys(thing.look.color for thing in self.shuffled(scene))]
        )

    def shuffled(self, scene: Scene) -> list[Thing]:
        """The objects in any order."""
        return [scene.things[i] for i in self.rng.permutation(len(scene.things))]

    def _several(self, count: int, color: str | None, shape: str) -> str:
        before, noun = f"{self.word(color)} " if color else "", self.word(shape)
        return article(before + noun) if count == 1 else f"{NUMBERS[count]} {before}{plural(noun)}"


def captions(scene: Scene, rng: np.random.Generator) -> list[str]:
    """In plain words all there is; then: all objects, a relation, the largest and the count, one thing of several.

    Most of the last four are bare: who reads them has to look at shapes and numbers, not at colours.
    """
    parts = (grouped, related, largest, pick(rng, (largest, largest, placed, extremes, colors_only)))
    plain = full(scene, Voice(rng, plain=True))
    return [plain, *(_tidied(part(scene, Voice(rng, bare=rng.random() < _BARE))) for part in parts)]


def full(scene: Scene, voice: Voice) -> str:
    """All that has a name, up to `DETAILED` objects; of more objects colours, shapes, order and background."""
    things, ground = scene.things, voice.ground(scene)
    if len(things) == 1:
        a = article(voice.look(things[0].look, size=True, texture=True))
        return voice.pick(phrases.FULL_ONE).format(a=a, place=voice.place(things[0]), ground=ground)
    if len(things) == 2:
        first, second = things if voice.rng.random() < 0.5 else things[::-1]
        a, b = (article(voice.look(thing.look, size=True, texture=True)) for thing in (first, second))
        relation = voice.relation(relation_of(first, second))
        return voice.pick(phrases.FULL_TWO).format(a=a, b=b, relation=relation, ground=ground)
    along = "y" if voice.rng.random() < 0.3 and _spread(scene, "y") else "x"
    ordered = sorted(things, key=lambda thing: thing.x if along == "x" else thing.y)
    detailed = len(things) <= DETAILED
    names = [voice.look(thing.look, size=detailed, texture=detailed) for thing in ordered]
    said = listing([article(name) for name in names]) if detailed else ", ".join(names)
    order, number = voice.pick(phrases.ORDERS[along]), NUMBERS[len(things)]
    return voice.pick(phrases.FULL_MANY).format(order=order, things=said, ground=ground, number=number)


def grouped(scene: Scene, voice: Voice) -> str:
    """All objects by kind, with their numbers."""
    return voice.pick(phrases.GROUPED).format(
        number=voice.number(len(scene.things)), groups=voice.groups(scene), ground=voice.ground(scene)
    )


def related(scene: Scene, voice: Voice) -> str:
    """How two objects lie to each other, or one between two."""
    if len(scene.things) == 1:
        return placed(scene, voice)
    slots = {"ground": voice.ground(scene), "number": voice.number(len(scene.things))}
    middle = _between(scene) if voice.rng.random() < 0.5 else None
    if middle:
        a, b, c = (article(voice.look(thing.look)) for thing in middle)
        return voice.pick(phrases.BETWEEN).format(a=a, b=b, c=c, **slots)
    first, second = voice.shuffled(scene)[:2]
    a, b = (article(voice.look(thing.look, texture=True)) for thing in (first, second))
    relation = voice.relation(relation_of(first, second))
    return voice.pick(phrases.RELATED).format(a=a, b=b, relation=relation, **slots)


def largest(scene: Scene, voice: Voice) -> str:
    """The largest object and the count."""
    name, place, ground = voice.look(scene.largest.look, texture=True), voice.place(scene.largest), voice.ground(scene)
    if len(scene.things) == 1:
        return voice.pick(phrases.SINGLE).format(name=name, a=article(name), place=place, ground=ground)
    number = voice.number(len(scene.things))
    return voice.pick(phrases.LARGEST).format(a=article(name), place=place, ground=ground, number=number)


def placed(scene: Scene, voice: Voice) -> str:
    """One object and where it is; the others counted."""
    thing, rest = pick(voice.rng, scene.things), len(scene.things) - 1
    a = article(voice.look(thing.look, size=True, texture=True))
    slots = {"a": a, "place": voice.place(thing), "ground": voice.ground(scene)}
    if not rest:
        return voice.pick(phrases.FULL_ONE).format(**slots)
    return voice.pick(phrases.PLACED).format(others=phrases.OTHERS[rest > 1].format(number=NUMBERS[rest]), **slots)


def extremes(scene: Scene, voice: Voice) -> str:
    """What lies farthest left and right, or at the top and the bottom."""
    if len(scene.things) == 1:
        return largest(scene, voice)
    ends = {
        "left": min(scene.things, key=lambda thing: thing.x),
        "right": max(scene.things, key=lambda thing: thing.x),
        "top": min(scene.things, key=lambda thing: thing.y),
        "bottom": max(scene.things, key=lambda thing: thing.y),
    }
    said = {end: article(voice.look(thing.look)) for end, thing in ends.items()}
    return voice.pick(phrases.EXTREMES).format(ground=voice.ground(scene), **said)


def colors_only(scene: Scene, voice: Voice) -> str:
    """The colours, the count and the background."""
    if len(scene.things) == 1:
        return largest(scene, voice)
    slots = {"colors": voice.colors(scene), "number": voice.number(len(scene.things)), "ground": voice.ground(scene)}
    has_one = len({thing.look.color for thing in scene.things}) == 1
    return voice.pick(phrases.ONE_COLOR if has_one else phrases.COLORS_ONLY).format(**slots)


def _tidied(text: str) -> str:
    """Without the spaces and commas around a slot that stayed empty."""
    return " ".join(text.split()).replace(" ,", ",").strip(" ,")


def relation_of(first: Thing, second: Thing) -> str:
    """Where the first lies, seen from the second, along the axis on which they lie farther apart."""
    x, y = first.x - second.x, first.y - second.y
    if abs(x) >= abs(y):
        return "left" if x < 0 else "right"
    return "above" if y < 0 else "below"


def _between(scene: Scene) -> tuple[Thing, Thing, Thing] | None:
    """The first three objects of which one lies near the middle of the line between the two others."""
    for a, b, c in permutations(scene.things, 3):
        aside = np.hypot(a.x - (b.x + c.x) / 2, a.y - (b.y + c.y) / 2)
        if b.x < c.x and aside <= ASIDE:
            return a, b, c
    return None


def _spread(scene: Scene, axis: str) -> bool:
    """Whether any two objects lie clearly apart along the axis."""
    along = np.sort([getattr(thing, axis) for thing in scene.things])
    return bool((np.diff(along) >= 6).all())


def third(coordinate: float) -> int:
    """0, 1 or 2: which third of the room an object has (objects keep away from the border)."""
    return int(coordinate >= SIDE * 0.4) + int(coordinate >= SIDE * 0.6)
