"""The loaders on real files in their official layouts, where $VLTK_TEST_DATA has them; some are cut."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from vltk.errors import VltkError
from vltk.eval.datasets._files import Files
from vltk.eval.datasets._places import find
from vltk.eval.datasets.easy_vqa import EasyVqa
from vltk.eval.datasets.flickr30k import Flickr30k
from vltk.eval.datasets.glue import Glue
from vltk.eval.datasets.snli_ve import SnliVe
from vltk.eval.datasets.vqav2 import Vqav2

DATA = Path(os.environ.get("VLTK_TEST_DATA") or "nowhere")
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="$VLTK_TEST_DATA names no folder with real data sets")


def counts(labels: Any) -> list[int]:
    return [int((labels == number).sum()) for number in sorted(set(labels.tolist()))]


@pytest.mark.parametrize(
    ("task", "split", "per_class"),
    [
        ("sst2", "train", [29_780, 37_569]),
        ("sst2", "dev", [428, 444]),
        ("cola", "dev", [322, 721]),
        ("mrpc", "train", [1_194, 2_474]),
        ("mrpc", "dev", [129, 279]),
        ("rte", "dev", [146, 131]),
    ],
)
def test_whole_splits_of_glue_have_the_official_count(task: Any, split: str, per_class: list[int]) -> None:
    assert counts(Glue(find(task, DATA), task=task).split(split).labels) == per_class


def test_the_scores_of_stsb_are_whole() -> None:
    loader = Glue(find("stsb", DATA), task="stsb")
    for name, size in (("train", 5_749), ("dev", 1_500)):
        labels = loader.split(name).labels
        assert labels is not None and len(labels) == size and (labels.min(), labels.max()) == (0.0, 5.0)


@pytest.mark.parametrize(("task", "split"), [("cola", "train"), ("rte", "train"), ("qnli", "dev"), ("mnli", "train")])
def test_cut_splits_are_refused_and_read_where_allowed(task: Any, split: str) -> None:
    with pytest.raises(VltkError, match="the official split has"):
        Glue(find(task, DATA), task=task).split(split)
    assert len(Glue(find(task, DATA), task=task, nonstandard=True).split(split)) > 1000


def test_images_come_out_of_their_archives() -> None:
    vqa = Vqav2(find("vqav2", DATA), least=2, vocabulary="train", nonstandard=True)
    snli = SnliVe(Files(DATA / "snli_ve", beside=[Files(DATA / "flickr8k")]), nonstandard=True)
    splits = [
        vqa.split("train"),
        snli.split("dev"),
        EasyVqa(find("easy_vqa", DATA), nonstandard=True).split("test"),
        Flickr30k(Files(DATA / "flickr8k"), nonstandard=True).split("test"),
    ]
    assert [len(split) for split in splits] == [73, 1_944, 3_898, 500]
    for split, mark in zip(splits, (b"\xff\xd8", b"\xff\xd8", b"\x89PNG", b"\xff\xd8"), strict=True):
        image = split.read(len(split) - 1).image
        assert isinstance(image, bytes) and image.startswith(mark)
    assert len(splits[0].read(0).facts["answers"]) == 10 and vqa.classes[:2] == ["yes", "no"]
    assert len(splits[3].read(0).texts) == 5
