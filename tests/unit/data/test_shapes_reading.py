"""Captions of drawn scenes, read again: what the grammar says is true, and every kind of lie is found."""

from __future__ import annotations

import pytest

from vltk.data.shapes.reading import judge
from vltk.data.shapes.sample import sample_scene
from vltk.data.shapes.scene import Backdrop, Look, Scene, Thing, scene_of
from vltk.data.sources.shapes import labels, records

STAR = Thing(Look("red", "star", "large", "striped"), 20.0, 30.0, 50.0, 3.0)
RING = Thing(Look("blue", "ring", "small", "plain"), 80.0, 40.0, 15.0, 0.0)
BOX = Thing(Look("blue", "square", "medium", "plain"), 50.0, 80.0, 29.0, 0.0)
SCENE = Scene((STAR, RING, BOX), Backdrop("grid", "mint"), "color", 7)
TWO = SCENE._replace(things=(STAR, RING))


def test_every_caption_of_the_data_is_exactly_right() -> None:
    for split in ("test", "heldout"):
        for record in records(3, split, 120):
            scene = scene_of(record.meta)
            assert scene is not None
            for text in record.texts:
                told = judge(text, scene)
                assert told and all(told.values()), text


def test_captions_of_another_scene_are_seldom_right() -> None:
    said = list(records(3, "test", 100))
    shifted = [scene_of(record.meta) for record in [*said[2:], *said[:2]]]
    found = [judge(record.texts[0], scene) for record, scene in zip(said, shifted, strict=True) if scene]
    assert sum(told is not None and all(told.values()) for told in found) == 0


def test_a_scene_is_stored_up_to_what_has_no_name() -> None:
    scene = sample_scene(0, "test", 5)
    again = scene_of(labels(scene))
    assert again is not None and again.backdrop == scene.backdrop
    assert [thing.look for thing in again.things] == [thing.look for thing in scene.things]
    assert again.things[0].x == pytest.approx(scene.things[0].x, abs=0.05)
    assert scene_of({"objects": ["dog"]}) is None


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("a large striped red star left of a small blue ring on a mint grid", set()),
        ("Two objects : a red star is left of a ring", None),
        ("two objects : a big stripy red star to the left of a little blue hoop", set()),
        ("a large striped red star left of a small blue ring on a grey grid", {"detail"}),
        ("a red star right of a blue ring", {"relation"}),
        ("a star is above a ring", {"relation"}),
        ("a green star left of a blue ring", {"colour"}),
        ("a red circle left of a blue ring", {"shape"}),
        ("a blue star left of a red ring", {"colour"}),
        ("a red star in the top left on a mint grid", {"count"}),
        ("from left to right: a red star, a blue ring and a blue square", {"shape", "colour", "relation", "count"}),
        ("the largest of two shapes is a star", set()),
        ("the largest of two shapes is a ring", {"detail"}),
        ("the largest of three shapes is a star", {"count"}),
        ("the colours are blue and red, two objects", set()),
        ("all two objects are red", {"colour"}),
        ("a ring on the far left and a star on the far right", {"relation"}),
        ("a star and a ring", set()),
        ("two stars", {"shape"}),
    ],
)
def test_two_objects(text: str, wrong: set[str] | None) -> None:
    told = judge(text, TWO)
    assert told is None if wrong is None else told is not None and {kind for kind in told if not told[kind]} == wrong


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("from left to right: a star, a square and a ring", set()),
        ("from top to bottom: a star, a ring and a square", set()),
        ("from left to right: a star, a ring and a square", {"relation"}),
        ("three figures: two blue rings and a red star", {"shape"}),
        ("a square is between a star and a ring", {"relation"}),  # it lies far below the line
        ("a star in the top left and two other objects", set()),
        ("a star in the top right and two other objects", {"relation"}),
        ("a star is left of a ring", set()),
        ("a square sits below a ring, three objects in all", set()),
    ],
)
def test_three_objects(text: str, wrong: set[str]) -> None:
    told = judge(text, SCENE)
    assert told is not None and {kind for kind in told if not told[kind]} == wrong


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a dog left of a cat",
        "a red red star left of a ring",
        "a orange star left of a ring",
        "a star left of",
        "a star left of a ring on the sofa",
        "nine stars",  # no scene has so many
        "one stars",
        "[UNK] star",
    ],
)
def test_what_the_grammar_does_not_give(text: str) -> None:
    assert judge(text, SCENE) is None


def test_who_is_meant_follows_from_the_best_reading() -> None:
    """Of two stars the caption can only mean the red one, though it says a wrong relation of it."""
    other = STAR._replace(look=STAR.look._replace(color="green"), x=60.0, y=70.0)
    scene = SCENE._replace(things=(STAR, other, RING))
    assert judge("a red star is right of a blue ring", scene) == {"shape": True, "colour": True, "relation": False}
    assert judge("a green star is below a blue ring", scene) == {"shape": True, "colour": True, "relation": True}
