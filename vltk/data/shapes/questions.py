"""Questions about a scene with their answers, each a word or two."""

from __future__ import annotations

import numpy as np

from vltk.data.shapes import phrases
from vltk.data.shapes.language import Voice, relation_of
from vltk.data.shapes.lexicon import COLORS, HELD_OUT, NUMBERS, SHAPES, article
from vltk.data.shapes.scene import Scene, pick

_PAIRS = tuple((color, shape) for color in COLORS for shape in SHAPES if (color, shape) not in HELD_OUT)


def questions(scene: Scene, rng: np.random.Generator) -> list[tuple[str, str]]:
    """The count, one property of the largest object, the background, a number by colour, two of yes or no."""
    voice = Voice(rng)
    return [ask(scene, voice) for ask in (_count, _largest, _background, _color_count, _exists, _relation)]


def _count(scene: Scene, voice: Voice) -> tuple[str, str]:
    return voice.pick(phrases.COUNT_QUESTIONS), NUMBERS[len(scene.things)]


def _largest(scene: Scene, voice: Voice) -> tuple[str, str]:
    field = voice.pick(tuple(phrases.LARGEST_QUESTIONS))
    return voice.pick(phrases.LARGEST_QUESTIONS[field]), getattr(scene.largest.look, field)


def _background(scene: Scene, voice: Voice) -> tuple[str, str]:
    return voice.pick(phrases.BACKGROUND_QUESTIONS), scene.backdrop.tint


def _color_count(scene: Scene, voice: Voice) -> tuple[str, str]:
    present = [thing.look.color for thing in scene.things]
    color = pick(voice.rng, present) if voice.rng.random() < 0.7 else pick(voice.rng, tuple(COLORS))
    return voice.pick(phrases.COLOR_COUNT_QUESTIONS).format(color=color), NUMBERS[present.count(color)]


def _exists(scene: Scene, voice: Voice) -> tuple[str, str]:
    """As often yes as no; what is asked for in vain is never a held-out pair."""
    present = [(thing.look.color, thing.look.shape) for thing in scene.things]
    absent = [pair for pair in _PAIRS if pair not in present]
    kindred = [pair for pair in absent if any(pair[0] == color or pair[1] == shape for color, shape in present)]
    is_there = voice.rng.random() < 0.5
    color, shape = pick(voice.rng, present if is_there else kindred)
    return voice.pick(phrases.EXISTS_QUESTIONS).format(a=article(f"{color} {shape}")), _yes_or_no(is_there)


def _relation(scene: Scene, voice: Voice) -> tuple[str, str]:
    """About two kinds of objects of which each is there once; else about the count."""
    looks = [(thing.look.color, thing.look.shape) for thing in scene.things]
    single = [thing for thing, look in zip(scene.things, looks, strict=True) if looks.count(look) == 1]
    if len(single) < 2:
        return _count(scene, voice)
    i, j = voice.rng.permutation(len(single))[:2]
    truth = relation_of(single[i], single[j])
    is_so = voice.rng.random() < 0.5
    a, b = (f"the {single[k].look.color} {single[k].look.shape}" for k in (i, j))
    relation = voice.relation(truth if is_so else phrases.OPPOSITES[truth])
    return voice.pick(phrases.RELATION_QUESTIONS).format(a=a, b=b, relation=relation), _yes_or_no(is_so)


def _yes_or_no(truth: bool) -> str:
    return phrases.ANSWERS[0 if truth else 1]
