"""The loaders of images with text on their official files: what stands in them, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.official import captioned, easy_vqa, hateful_memes, snli_ve, vqav2
from tests.official.photo import photo
from vltk.errors import Missing, VltkError
from vltk.eval.datasets._files import Files
from vltk.eval.datasets._vqa_answers import normalise, vocabulary
from vltk.eval.datasets.coco import Coco
from vltk.eval.datasets.easy_vqa import EasyVqa
from vltk.eval.datasets.flickr30k import Flickr30k
from vltk.eval.datasets.hateful_memes import HatefulMemes
from vltk.eval.datasets.snli_ve import SnliVe
from vltk.eval.datasets.vqav2 import Vqav2

Made = Callable[[Path], Any]
LOADERS: dict[str, tuple[Made, Any, str]] = {  # how files are made, the loader, a split
    "vqav2": (vqav2.make, Vqav2, "val"),
    "snli_ve": (snli_ve.make, SnliVe, "dev"),
    "hateful_memes": (hateful_memes.make, HatefulMemes, "dev_seen"),
    "flickr30k": (captioned.make_flickr30k, Flickr30k, "test"),
    "coco": (captioned.make_coco, Coco, "test"),
    "easy_vqa": (easy_vqa.make, EasyVqa, "test"),
}


def made(name: str, root: Path, **options: Any) -> Any:
    make, loader, _ = LOADERS[name]
    make(root)
    return loader(Files(root), nonstandard=True, **options)


@pytest.mark.parametrize("name", LOADERS)
def test_every_split_reads_its_images(tmp_path: Path, name: str) -> None:
    loader = made(name, tmp_path)
    for split in [loader.split(part) for part in loader.splits if (name, part) != ("vqav2", "test")]:
        assert len(split) == len(split.keys) == len(set(split.keys)) > 0 and len(split.sha256) == 64
        for at, key in enumerate(split.keys):
            item = split.read(at)
            assert item.key == key and isinstance(item.image, bytes) and len(item.image) > 100 and item.texts


@pytest.mark.parametrize("name", LOADERS)
def test_another_count_than_the_official_one_is_refused(tmp_path: Path, name: str) -> None:
    make, loader, split = LOADERS[name]
    make(tmp_path)
    with pytest.raises(
        VltkError, match=rf"{name} {split}: \d+ samples, the official split has [\d,]+; .*--allow-nonst"
    ):
        loader(Files(tmp_path)).split(split)


@pytest.mark.parametrize("name", LOADERS)
def test_absent_files_are_named(tmp_path: Path, name: str) -> None:
    _, loader, split = LOADERS[name]
    with pytest.raises(Missing, match=r"\.(json|jsonl|txt)"):
        loader(Files(tmp_path), nonstandard=True).split(split)


@pytest.mark.parametrize("name", LOADERS)
def test_an_image_that_is_absent_is_named_at_once(tmp_path: Path, name: str) -> None:
    loader = made(name, tmp_path)
    item = loader.split(LOADERS[name][2]).rows[0]
    (tmp_path / item.image).unlink()
    with pytest.raises(Missing, match=rf"1 of \d images, the first {item.image}"):
        LOADERS[name][1](Files(tmp_path), nonstandard=True).split(LOADERS[name][2])


@pytest.mark.parametrize("name", LOADERS)
def test_an_empty_image_is_named_with_its_sample(tmp_path: Path, name: str) -> None:
    split = made(name, tmp_path).split(LOADERS[name][2])
    (tmp_path / split.rows[0].image).write_bytes(b"")
    with pytest.raises(VltkError, match=rf"{name} \w+ {split.keys[0]}: .*{split.rows[0].image} is empty"):
        split.read(0)


@pytest.mark.parametrize("name", LOADERS)
def test_a_file_that_is_cut_short_is_refused(tmp_path: Path, name: str) -> None:
    make, loader, split = LOADERS[name]
    make(tmp_path)
    for path in [*tmp_path.rglob("*.json"), *tmp_path.rglob("*.jsonl")]:
        path.write_text(path.read_text().rstrip()[: -len(path.read_text()) // 3])
    with pytest.raises(VltkError, match="cut short or damaged"):
        loader(Files(tmp_path), nonstandard=True).split(split)


@pytest.mark.parametrize("name", LOADERS)
def test_an_unknown_split_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(VltkError, match=f"{name}: no split 'all'; have: "):
        made(name, tmp_path).split("all")


def test_vqa_gives_the_ten_answers_and_their_kind(tmp_path: Path) -> None:
    split = made("vqav2", tmp_path).split("val")
    item = split.read(1)
    assert split.labels is None and item.label is None and item.texts == ("How many are there?",)
    assert item.facts["answers"] == ("2",) * 6 + ("two",) * 3 + ("Two.",)
    assert (item.facts["question_id"], item.facts["answer"], item.facts["answer_type"]) == (9001, "2", "number")
    assert item.image == photo(9)


def test_the_test_questions_of_vqa_have_no_answers(tmp_path: Path) -> None:
    item = made("vqav2", tmp_path).split("test-dev").read(0)
    assert item.facts == {"question_id": 9000} and item.image == photo(9)


@pytest.mark.parametrize(("least", "of", "found"), [(6, "train+val", ["2", "yes"]), (3, "train", ["2", "yes"])])
def test_the_vocabulary_of_vqa_is_that_of_frequent_answers(
    tmp_path: Path, least: int, of: str, found: list[str]
) -> None:
    assert made("vqav2", tmp_path, least=least, vocabulary=of).classes == found


def test_an_empty_vocabulary_of_vqa_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VltkError, match="no answer is that of 9 questions"):
        _ = made("vqav2", tmp_path).classes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda one: one[0].update(image_id=25), "question 9000 is on image 9, its annotation on 25"),
        (lambda one: one.pop(0), "question 9000: no annotation"),
        (lambda one: one.append({**one[0], "question_id": 7}), "1 annotations without a question, the first 7"),
        (lambda one: one[0].pop("answers"), "annotation 9000: no answers; have: "),
    ],
)
def test_annotations_of_other_questions_are_refused(
    tmp_path: Path, change: Callable[[list[dict[str, Any]]], Any], message: str
) -> None:
    loader = made("vqav2", tmp_path)
    annotations = vqav2.content()[1]
    change(annotations)
    vqav2.write(tmp_path / "v2_mscoco_val2014_annotations.json", {"annotations": annotations})
    with pytest.raises(VltkError, match=message):
        loader.split("val")


def test_a_question_of_vqa_has_ten_answers(tmp_path: Path) -> None:
    vqav2.make(tmp_path)
    annotations = vqav2.content()[1]
    annotations[0]["answers"].pop()
    vqav2.write(tmp_path / "v2_mscoco_val2014_annotations.json", {"annotations": annotations})
    with pytest.raises(VltkError, match="annotation 9000: 9 answers, not 10"):
        Vqav2(Files(tmp_path)).split("val")


@pytest.mark.parametrize(
    ("answer", "normal"),
    [
        ("Two.", "2"),
        ("none", "0"),
        ("the  red\ncar ", "red car"),
        ("an apple, a pear", "apple pear"),
        ("0.5", "0.5"),
        (".5", ".5"),
        ("5.", "5"),
        ("U.S.A.", "usa"),
        ("1,000", "1000"),
        ("1,000-2,000", "10002000"),
        ("black/white", "black white"),
        ("black / white", "black white"),
        ("yes!", "yes"),
        ("what?no", "what no"),
        ("dont know", "don't know"),
        ("Dont", "don't"),
        ("it's", "it's"),
        ("couldntve", "couldntve"),
        ("couldn'tve", "couldn't've"),
        ("somebody'd", "somebodyd"),
        ("Im here", "im here"),
        ("the", ""),
        ("top-left", "top left"),
        ("ten (10)", "10 10"),
    ],
)
def test_answers_are_normalised_as_the_official_evaluation_does(answer: str, normal: str) -> None:
    assert normalise(answer) == normal


def test_the_vocabulary_is_sorted_by_count_then_name() -> None:
    assert vocabulary(["b", "d", "Two", "2", "b.", "2", "d", "c"], 2) == ["2", "b", "d"]


@pytest.mark.parametrize("id_key", ["Flickr30K_ID", "Flikr30kID"])
@pytest.mark.parametrize("folder", ["flickr30k_images", "flickr30k-images"])
def test_snli_ve_takes_both_spellings_and_drops_the_undecided(tmp_path: Path, id_key: str, folder: str) -> None:
    snli_ve.make(tmp_path, id_key, folder)
    loader = SnliVe(Files(tmp_path), nonstandard=True)
    split = loader.split("dev")
    assert split.labels is not None and split.labels.tolist() == [0, 1, 2] and split.left_out == 1
    assert loader.classes == ("entailment", "neutral", "contradiction")
    assert split.read(1).image == photo(101) and split.read(1).texts == ("Sentence 1.",)


def test_snli_ve_finds_its_photos_beside(tmp_path: Path) -> None:
    snli_ve.make(tmp_path / "ve", folder="away")
    (tmp_path / "ve" / "away").rename(tmp_path / "photos")
    (tmp_path / "flickr30k").mkdir()
    (tmp_path / "photos").rename(tmp_path / "flickr30k" / "flickr30k-images")
    files = Files(tmp_path / "ve", beside=[Files(tmp_path / "flickr30k")])
    assert SnliVe(files, nonstandard=True).split("dev").read(0).image == photo(100)


@pytest.mark.parametrize(("label", "message"), [("maybe", "the label 'maybe' is none of"), (None, "the label None")])
def test_an_unknown_label_of_snli_ve_is_refused(tmp_path: Path, label: str | None, message: str) -> None:
    snli_ve.make(tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "snli_ve_dev.jsonl").read_text().splitlines()]
    rows[1]["gold_label"] = label
    snli_ve.write_lines(tmp_path / "snli_ve_dev.jsonl", rows)
    with pytest.raises(VltkError, match=rf"snli_ve_dev\.jsonl, line 2: {message}"):
        SnliVe(Files(tmp_path), nonstandard=True).split("dev")


def test_hateful_memes_of_the_first_phase_are_read_as_seen(tmp_path: Path) -> None:
    hateful_memes.make(tmp_path, ("train", "dev", "test"))
    loader = HatefulMemes(Files(tmp_path), nonstandard=True)
    assert loader.split("dev_seen").labels.tolist() == [0, 1, 0, 1]  # type: ignore[union-attr]
    assert loader.split("test_seen").labels is None
    with pytest.raises(Missing, match=r"dev_unseen\.jsonl"):
        loader.split("dev_unseen")


def test_hateful_memes_keep_the_text_and_refuse_other_labels(tmp_path: Path) -> None:
    hateful_memes.make(tmp_path)
    assert HatefulMemes(Files(tmp_path), nonstandard=True).split("train").read(3).texts == ("look at 3",)
    path = tmp_path / "train.jsonl"
    path.write_text(path.read_text().replace('"label": 1', '"label": 2', 1))
    with pytest.raises(VltkError, match=r"train\.jsonl, line 2: the label 2 is neither 0 nor 1"):
        HatefulMemes(Files(tmp_path), nonstandard=True).split("train")


@pytest.mark.parametrize("form", ["json", "csv", "pairs", "token"])
def test_flickr30k_reads_every_form_of_captions(tmp_path: Path, form: str) -> None:
    captioned.make_flickr30k(tmp_path, form)
    split = Flickr30k(Files(tmp_path), nonstandard=True).split("test")
    assert split.keys == ["1003", "1004"] and split.labels is None
    assert split.read(1).texts == tuple(captioned.captions(1004)) and split.read(1).image == photo(1004)


def test_captions_of_a_photo_can_be_limited(tmp_path: Path) -> None:
    captioned.make_flickr30k(tmp_path)
    split = Flickr30k(Files(tmp_path), captions=2, nonstandard=True).split("val")
    assert split.read(0).texts == tuple(captioned.captions(1002, 2))


def test_captions_without_a_list_of_photos_are_asked_for(tmp_path: Path) -> None:
    captioned.make_flickr30k(tmp_path, "token")
    (tmp_path / "test.txt").unlink()
    with pytest.raises(Missing, match=r"the photos of test: test\.txt with a name a line, or dataset_flickr30k\.json"):
        Flickr30k(Files(tmp_path), nonstandard=True).split("test")


def test_a_listed_photo_without_captions_is_named(tmp_path: Path) -> None:
    captioned.make_flickr30k(tmp_path, "token")
    (tmp_path / "test.txt").write_text("1003.jpg\n77.jpg\n")
    with pytest.raises(Missing, match=r"captions of 1 photos of test\.txt, the first 77"):
        Flickr30k(Files(tmp_path), nonstandard=True).split("test")


@pytest.mark.parametrize("form", ["json", "official"])
def test_coco_keeps_every_caption(tmp_path: Path, form: str) -> None:
    captioned.make_coco(tmp_path, form)
    split = Coco(Files(tmp_path), nonstandard=True).split("test")
    assert [len(split.read(at).texts) for at in range(2)] == [5, 6]
    assert split.read(1).image == photo(1004)
    limited = Coco(Files(tmp_path), captions=5, nonstandard=True).split("test")
    assert [len(limited.read(at).texts) for at in range(2)] == [5, 5]


def test_train_of_coco_is_karpathys_with_restval(tmp_path: Path) -> None:
    captioned.make_coco(tmp_path)
    assert [row.image for row in Coco(Files(tmp_path), nonstandard=True).split("train").rows] == [
        "train2014/COCO_train2014_000000001000.jpg",
        "val2014/COCO_val2014_000000001001.jpg",
    ]


def test_a_listed_photo_that_coco_does_not_have_is_named(tmp_path: Path) -> None:
    captioned.make_coco(tmp_path, "official")
    (tmp_path / "coco_test.txt").write_text("1003\n5\n")
    with pytest.raises(VltkError, match=r"coco_test\.txt: the photo 5 is not in annotations/captions_val2014\.json"):
        Coco(Files(tmp_path), nonstandard=True).split("test")


def test_easy_vqa_numbers_answers_by_their_file(tmp_path: Path) -> None:
    loader = made("easy_vqa", tmp_path)
    split = loader.split("test")
    np.testing.assert_array_equal(split.labels, [2, 1] * 3)
    assert loader.classes == ["yes", "no", "circle", "red"] and split.read(3).texts == ("is it red?",)


def test_an_unknown_answer_of_easy_vqa_is_refused(tmp_path: Path) -> None:
    loader = made("easy_vqa", tmp_path)
    (tmp_path / "answers.txt").write_text("yes\nno\nred")
    with pytest.raises(VltkError, match=r"question 0: the answer 'circle' is not in answers\.txt"):
        loader.split("test")
