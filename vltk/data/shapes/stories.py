"""The text-only part: scenes described in several sentences, how they came about, and what words mean."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from vltk.data.shapes import phrases
from vltk.data.shapes.language import Voice, relation_of
from vltk.data.shapes.lexicon import SHAPES, SIZES, TEXTURES, article
from vltk.data.shapes.scene import Scene, Thing, pick


def story(scene: Scene, rng: np.random.Generator) -> tuple[str, str]:
    """(kind, text): `description`, `story` or `definition`, about 30 to 70 words."""
    kind = pick(rng, tuple(KINDS))
    return kind, " ".join(_sentence(text) for text in KINDS[kind](scene, Voice(rng)))


def _description(scene: Scene, voice: Voice) -> list[str]:
    order = voice.shuffled(scene)
    lines = [_say(scene, voice, phrases.OPENINGS)]
    for number, thing in enumerate(order):
        pair = number > 0 and voice.rng.random() < 0.6
        options = phrases.PAIR_SENTENCES if pair else phrases.THING_SENTENCES
        lines.append(_say(scene, voice, options, thing, order[number - 1]))
    return [*lines, _say(scene, voice, phrases.CLOSINGS if len(order) > 1 else phrases.CLOSINGS_ONE)]


def _story(scene: Scene, voice: Voice) -> list[str]:
    order = voice.shuffled(scene)
    lines = [_say(scene, voice, phrases.STORY_STARTS, order[0])]
    for before, thing in pairwise(order):  # the step's b comes to the a before it
        given = {"relation": voice.relation(relation_of(thing, before)), "place": voice.place(thing)}
        lines.append(_say(scene, voice, phrases.STORY_STEPS, before, thing, **given))
    return [*lines, _say(scene, voice, phrases.STORY_ENDS if len(order) > 1 else phrases.STORY_ENDS_ONE, order[-1])]


def _definition(scene: Scene, voice: Voice) -> list[str]:
    """Facts about shapes and textures, and rules whose examples are the scene's own objects."""
    shapes = [pick(voice.rng, tuple(SHAPES)) for _ in range(2)]
    lines = [voice.pick(phrases.FACTS[shape]) for shape in dict.fromkeys(shapes)]
    lines.append(voice.pick(phrases.TEXTURE_FACTS[pick(voice.rng, TEXTURES)]))
    looks = [thing.look._replace(size="medium") for thing in scene.things]
    names = [voice.look(look, texture=True) for look in dict.fromkeys(looks)][:3]
    slots = _rule_slots(voice)
    for slot, name in zip("abc", names, strict=False):
        slots |= {slot: article(name), f"the_{slot}": f"the {name}"}
    rules = [rule for needed in range(1, len(names) + 1) for rule in phrases.RULES[needed]]
    return lines + [line.format(**slots) for line in dict.fromkeys(pick(voice.rng, rules) for _ in range(2))]


def _rule_slots(voice: Voice) -> dict[str, str]:
    things = pick(voice.rng, phrases.THINGS)
    direction, count = voice.pick(tuple(phrases.RELATIONS)), 1 + int(voice.rng.integers(8))
    numbers = {"fewer": count - 1, "number": count, "more": count + 1, "two": 2, "three": 3}
    return {
        "relation": voice.relation(direction),
        "opposite": voice.relation(phrases.OPPOSITES[direction]),
        "size": voice.word(voice.pick(tuple(SIZES))),
    } | {name: voice.number(number, things) for name, number in numbers.items()}


KINDS: dict[str, Callable[[Scene, Voice], list[str]]] = {
    "description": _description,
    "story": _story,
    "definition": _definition,
}


def _say(
    scene: Scene, voice: Voice, options: tuple[str, ...], a: Thing | None = None, b: Thing | None = None, **given: str
) -> str:
    """One of the sentences, its slots filled from the scene and from one or two of its objects."""
    first, second = a or scene.largest, b or scene.largest
    looks = {name: voice.look(thing.look, size=True, texture=True) for name, thing in (("a", first), ("b", second))}
    slots = {
        "a": article(looks["a"]),
        "b": article(looks["b"]),
        "the_a": f"the {looks['a']}",
        "the_b": f"the {looks['b']}",
        "the_largest": f"the {voice.look(scene.largest.look, texture=True)}",
        "ground": voice.ground(scene),
        "groups": voice.groups(scene),
        "colors": voice.colors(scene),
        "number": voice.number(len(scene.things)),
        "fewer": voice.number(len(scene.things) - 1),
        "place": voice.place(first),
        "relation": voice.relation(relation_of(first, second)),
    }
    return voice.pick(options).format(**{**slots, **given})


def _sentence(text: str) -> str:
    """With a capital letter in front."""
    return text[0].upper() + text[1:]
