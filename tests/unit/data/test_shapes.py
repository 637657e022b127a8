"""The embedded data set: deterministic, disjoint, held-out pairs unseen, true captions that tell scenes apart."""

from __future__ import annotations

import json
import re
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from vltk.data.card import load_card
from vltk.data.shapes.changes import CHANGES
from vltk.data.shapes.draw import draw
from vltk.data.shapes.language import relation_of
from vltk.data.shapes.lexicon import COLORS, HELD_OUT, PLURALS, SHAPES, SIZES, SYNONYMS, plural
from vltk.data.shapes.sample import sample_scene, sample_twins
from vltk.data.shapes.scene import SIDE, Backdrop, Look, Scene, Thing
from vltk.data.shapes.vocabulary import vocabulary
from vltk.data.shard import Record
from vltk.data.sources.shapes import SIZES as SPLIT_SIZES
from vltk.data.sources.shapes import VERSION, Shapes, generate, records
from vltk.errors import VltkError

SMALL = {"train": 12, "dev": 4, "test": 8, "heldout": 6, "images": 6, "text": 10}
PAIR_SPLITS = ("train", "dev", "test", "heldout")


@pytest.fixture(scope="module")
def samples() -> dict[str, list[Record]]:
    return {split: list(records(0, split, 300 if split in ("train", "text") else 120)) for split in SPLIT_SIZES}


def said(record: Record) -> list[str]:
    return [*record.texts, *(text for pair in record.meta.get("questions", []) for text in pair)]


def content(scene: Scene) -> tuple[object, ...]:
    return (*sorted(thing.look for thing in scene.things), scene.backdrop)


def test_equal_seeds_give_equal_bytes(tmp_path: Path) -> None:
    folders = [tmp_path / "first", tmp_path / "second", tmp_path / "other"]
    for folder, seed in zip(folders, (3, 3, 4), strict=True):
        generate(folder, seed, SMALL)
    contents = [
        {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
        for folder in folders
    ]
    assert contents[0] == contents[1]
    assert contents[0].keys() == contents[2].keys()
    tar = Path("shapes/train/shards/00000.tar")
    assert contents[0][tar] != contents[2][tar]


def test_writes_every_part(tmp_path: Path) -> None:
    manifests = generate(tmp_path, 0, SMALL)
    assert {split: manifest.samples for split, manifest in manifests.items()} == SMALL
    assert manifests["test"].texts == 5 * SMALL["test"]
    assert (manifests["images"].texts, manifests["text"].images) == (0, 0)
    with tarfile.open(tmp_path / "shapes/heldout/shards/00000.tar") as tar:
        names = tar.getnames()[:3]
        meta = json.loads(tar.extractfile(names[2]).read())  # type: ignore[union-attr]
    assert names == ["heldout-00000.jpg", "heldout-00000.txt", "heldout-00000.json"]
    assert meta["has_heldout"] and len(meta["captions"]) == 5 and len(meta["questions"]) == 6
    assert {"count", "largest_color", "largest_shape"} <= meta.keys()


def test_what_stands_is_kept_and_another_seed_is_refused(tmp_path: Path) -> None:
    lines: list[str] = []
    sizes = SMALL | {"text": 0}
    Shapes(**sizes).write(tmp_path, tell=lines.append)
    assert lines[0] == "shapes/train: 12 samples" and len(lines) == 5
    assert not (tmp_path / "shapes" / "text").exists()
    Shapes(**sizes).write(tmp_path, tell=lines.append)
    assert len(lines) == 5
    with pytest.raises(VltkError, match="exists already"):
        Shapes(seed=1, **sizes).write(tmp_path)
    Shapes(seed=1, **sizes).write(tmp_path, replace=True)
    manifest = json.loads((tmp_path / "shapes/dev/manifest.json").read_text())
    assert manifest["source"] == {"kind": "shapes", "version": VERSION, "split": "dev", "seed": 1, "size": 4}


def test_an_unknown_part_is_named_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(VltkError, match="no part valid; have: train, dev, test"):
        generate(tmp_path, sizes={"valid": 3})
    assert not list(tmp_path.iterdir())


def test_card_states_the_sizes() -> None:
    card = load_card("shapes")
    assert card.samples is not None and card.samples.published == SPLIT_SIZES["train"]
    for color, shape in HELD_OUT:
        assert any(f"{color} {shape}" in note for note in card.notes)


def test_scene_is_a_pure_function_of_its_index() -> None:
    np.random.seed(0)
    first = sample_scene(0, "test", 7)
    sample_scene(0, "test", 8)
    np.random.seed(1)
    assert sample_scene(0, "test", 7) == first
    assert (draw(first) == draw(first)).all()
    assert sample_scene(0, "test", 7, attempt=1) != first


def test_held_out_pairs_are_neither_shown_nor_named_in_training(samples: dict[str, list[Record]]) -> None:
    assert len({color for color, _ in HELD_OUT}) == len({shape for _, shape in HELD_OUT}) == len(HELD_OUT)
    nouns = {shape: (shape, *SYNONYMS.get(shape, ())) for shape in SHAPES}
    pairs = [
        f"\\b{hue} {form}\\b"
        for color, shape in HELD_OUT
        for hue in (color, *SYNONYMS.get(color, ()))
        for noun in nouns[shape]
        for form in (noun, plural(noun))
    ]
    pattern = re.compile("|".join(pairs))
    for split, records_of in samples.items():
        shown = [record.meta.get("has_heldout", False) for record in records_of]
        named = [bool(pattern.search(" ".join(said(record)).lower())) for record in records_of]
        assert all(shown) and all(named) if split == "heldout" else not any(shown) and not any(named), split


def test_no_content_stands_in_two_splits() -> None:
    contents = {
        split: {content(scene) for group in range(250) for scene in sample_twins(0, split, group)}
        for split in ("train", "dev", "test")
    }
    assert not contents["train"] & contents["test"]
    assert not contents["train"] & contents["dev"]
    assert not contents["dev"] & contents["test"]


def test_first_captions_are_distinct_and_short(samples: dict[str, list[Record]]) -> None:
    for split in PAIR_SPLITS:
        firsts = [record.texts[0] for record in samples[split]]
        assert len(set(firsts)) == len(firsts)
        lengths = [len(re.findall(r"\w+|[^\w\s]", text)) for record in samples[split] for text in record.texts]
        assert max(lengths) <= 34 and 6 < np.mean(lengths) < 16


def test_full_caption_tells_what_is_there(samples: dict[str, list[Record]]) -> None:
    """Colour and shape of every object, in the order of their places; size and texture too where there are few."""
    ordered = 0
    for record in samples["test"]:
        caption, objects = record.texts[0], record.meta["objects"]
        found = re.findall(rf"({'|'.join(COLORS)}) ({'|'.join(SHAPES)})", caption)
        assert Counter(found) == Counter((color, shape) for color, shape, *_ in objects)
        assert record.meta["tint"] in caption
        axis = 4 if "left to right" in caption else 5 if "top to bottom" in caption else None
        if axis is not None:
            ordered += 1
            assert found == [(thing[0], thing[1]) for thing in sorted(objects, key=lambda thing: thing[axis])]
        if len(objects) <= 3:
            for color, shape, size, texture, *_ in objects:
                words = [word for word in (size, texture) if word not in ("medium", "plain")]
                assert " ".join([*words, color, shape]) in caption
    assert ordered > 50


def test_twins_differ_in_one_respect_and_share_their_places() -> None:
    seen: Counter[str] = Counter()
    for group in range(200):
        first, second = sample_twins(0, "train", group)
        seen[first.change] += 1
        assert content(first) != content(second) or first.change.startswith("swap")
        assert (first.backdrop != second.backdrop) == (first.change == "background")
        assert (len(first.things) != len(second.things)) == (first.change == "count")
        assert [(t.x, t.y) for t in second.things] == [(t.x, t.y) for t in first.things][: len(second.things)]
    assert seen.keys() == CHANGES.keys()


def test_largest_object_is_clear_and_objects_keep_apart() -> None:
    counts: Counter[int] = Counter()
    for index in range(400):
        things = sample_scene(1, "train", index).things
        counts[len(things)] += 1
        assert all(thing.diameter * 1.2 < things[0].diameter for thing in things[1:])
        for i, a in enumerate(things):
            low, high = SIZES[a.look.size]
            assert low <= a.diameter <= high
            assert a.diameter / 2 <= min(a.x, a.y, SIDE - a.x, SIDE - a.y)
            for b in things[:i]:
                assert np.hypot(a.x - b.x, a.y - b.y) >= (a.diameter + b.diameter) / 2 and abs(a.x - b.x) >= 5.9
    assert sorted(counts) == [1, 2, 3, 4, 5] and min(counts.values()) > 40


def test_an_object_shows_its_colour() -> None:
    """The middle of a large plain circle, square or cross has its colour, up to light."""
    checked = 0
    for index in range(300):
        scene = sample_scene(2, "train", index)
        thing = scene.largest
        if thing.look.texture != "plain" or thing.look.shape not in ("circle", "square", "cross"):
            continue
        pixel = draw(scene)[round(thing.y), round(thing.x)].astype(float)
        distances = {name: np.abs(pixel - 0.9 * np.array(color)).sum() for name, color in COLORS.items()}
        assert min(distances, key=lambda name: distances[name]) == thing.look.color
        checked += 1
    assert checked > 30


def test_all_shapes_show_as_much_of_their_colour() -> None:
    """Else a model tells shapes apart by how much of a colour it sees, and learns no outlines."""
    areas = {}
    for shape in SHAPES:
        look = Look("red", shape, "large", "plain")
        scene = Scene((Thing(look, 48.0, 48.0, 50.0, 5.0),), Backdrop("plain", "grey"), "color", 0)
        red, _, blue = np.moveaxis(draw(scene).astype(int), 2, 0)
        areas[shape] = int((red - blue > 80).sum())
    assert max(areas.values()) < 1.03 * min(areas.values()), areas


def test_images_decode_to_the_stated_side(samples: dict[str, list[Record]]) -> None:
    for split in ("test", "images"):
        image = samples[split][0].image
        assert image is not None and simplejpeg.decode_jpeg(image).shape == (SIDE, SIDE, 3)
    assert samples["images"][0].texts == [] and samples["text"][0].image is None


def test_questions_have_true_answers(samples: dict[str, list[Record]]) -> None:
    numbers = ("zero", "one", "two", "three", "four", "five")
    exists: Counter[str] = Counter()
    for record in samples["train"]:
        looks = [(color, shape) for color, shape, *_ in record.meta["objects"]]
        assert record.meta["questions"][0][1] == numbers[record.meta["count"]]
        question, answer = record.meta["questions"][3]
        color = next(word for word in re.findall(r"\w+", question) if word in COLORS)
        assert answer == numbers[[look[0] for look in looks].count(color)]
        question, answer = record.meta["questions"][4]
        asked = re.search(rf"({'|'.join(COLORS)}) ({'|'.join(SHAPES)})", question)
        assert asked and (asked.groups() in looks) == (answer == "yes")
        exists[answer] += 1
    assert min(exists.values()) > 100


def test_relations_are_true() -> None:
    a, b = next(s.things[:2] for s in (sample_scene(0, "train", i) for i in range(99)) if len(s.things) > 1)
    assert relation_of(a._replace(x=20, y=50), b._replace(x=60, y=45)) == "left"
    assert relation_of(a._replace(x=60, y=50), b._replace(x=20, y=45)) == "right"
    assert relation_of(a._replace(x=50, y=20), b._replace(x=45, y=60)) == "above"
    assert relation_of(a._replace(x=50, y=60), b._replace(x=45, y=20)) == "below"


def test_vocabulary_has_every_word_whole(samples: dict[str, list[Record]]) -> None:
    tokens = vocabulary()
    assert tokens[:5] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert len(set(tokens)) == len(tokens) <= 600
    tokenizer = Tokenizer(WordPiece({token: n for n, token in enumerate(tokens)}, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = BertNormalizer(lowercase=True), BertPreTokenizer()
    texts = {text for records_of in samples.values() for record in records_of for text in said(record)}
    for text in texts:
        pieces = tokenizer.encode(text).tokens
        assert "[UNK]" not in pieces and not any(piece.startswith("##") for piece in pieces), text
    assert tokenizer.encode("zebra 42").tokens[0] == "z" and set(PLURALS.values()) <= set(tokens)


def test_texts_are_many_and_long(samples: dict[str, list[Record]]) -> None:
    texts = [record.texts[0] for record in samples["text"]]
    sentences = {sentence for text in texts for sentence in re.split(r"(?<=\.) ", text)}
    assert len(set(texts)) == len(texts) and len(sentences) > 3 * len(texts)
    assert 30 < np.mean([len(text.split()) for text in texts]) < 70
    assert {record.meta["kind"] for record in samples["text"]} == {"description", "story", "definition"}
