"""The loader of GLUE on its official files: what stands in them, and what is refused."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from tests.official import glue
from vltk.errors import Missing, VltkError
from vltk.eval.datasets._card import load_card
from vltk.eval.datasets._files import Files
from vltk.eval.datasets.glue import FORMS, Glue

Task = Literal["cola", "sst2", "mrpc", "qqp", "mnli", "qnli", "rte", "stsb"]
TASKS: list[Task] = ["cola", "sst2", "mrpc", "qqp", "mnli", "qnli", "rte", "stsb"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    glue.make(tmp_path)
    return tmp_path


def opened(root: Path, task: Task) -> Glue:
    return Glue(Files(root), task=task, nonstandard=True)


@pytest.mark.parametrize(
    ("task", "texts", "labels"),
    [
        ("cola", ('The "box out tried.',), [1, 0, 1]),
        ("sst2", ('a "cold film',), [1, 0, 0]),
        ("mrpc", ("A cat.", "A dog."), [1, 0, 1]),
        ("qqp", ("Who?", "Where?"), [1, 0, 0]),
        ("mnli", ("It rains.", "It is dry."), [0, 2, 1]),
        ("qnli", ("When?", "It was he."), [0, 1, 0]),
        ("rte", ("It rains.", "It is dry."), [0, 1]),
        ("stsb", ("A man.", "A boy."), [5.0, 2.5, 0.0]),
    ],
)
def test_rows_and_labels_are_those_of_the_files(
    root: Path, task: Task, texts: tuple[str, ...], labels: list[float]
) -> None:
    loader = opened(root, task)
    for name in loader.splits:
        split = loader.split(name)
        assert split.labels is not None
        np.testing.assert_array_equal(split.labels, labels)
        assert split.labels.dtype == (np.float64 if task == "stsb" else np.int64)
        assert split.read(1).texts == texts and split.read(1).label == labels[1] and split.read(1).image is None
        assert len(split) == len(set(split.keys)) == len(labels)


def test_mnli_has_two_dev_sets_and_the_others_one(root: Path) -> None:
    assert opened(root, "mnli").splits == ("train", "dev_matched", "dev_mismatched")
    assert {opened(root, task).splits for task in TASKS if task != "mnli"} == {("train", "dev")}


def test_cut_rows_of_qqp_are_left_out_and_counted(root: Path) -> None:
    split = opened(root, "qqp").split("train")
    assert (len(split), split.left_out) == (3, 1)


def test_mrpc_is_split_by_the_list_of_dev_pairs(tmp_path: Path) -> None:
    glue.make_msr(tmp_path)
    loader = opened(tmp_path, "mrpc")
    assert [loader.split("train").read(at).texts[1] for at in (0, 1)] == ['"He said so.', "Indeed."]
    assert [item.texts for item in map(loader.split("dev").read, range(1))] == [("A cat.", "A dog.")]
    assert len(loader.split("dev")) == 1


def test_mrpc_asks_for_the_list_of_dev_pairs(tmp_path: Path) -> None:
    glue.make_msr(tmp_path)
    (tmp_path / "MRPC" / "dev_ids.tsv").unlink()
    with pytest.raises(Missing, match=r"MRPC/dev_ids\.tsv"):
        opened(tmp_path, "mrpc").split("dev")


def test_the_official_zip_is_read_as_it_is(root: Path, tmp_path: Path) -> None:
    packed = tmp_path / "packed"
    packed.mkdir()
    with zipfile.ZipFile(packed / "QNLIv2.zip", "w") as archive:
        for split in ("train", "dev"):
            archive.write(root / "QNLI" / f"{split}.tsv", f"QNLI/{split}.tsv")
    assert len(opened(packed, "qnli").split("train")) == 3


@pytest.mark.parametrize("task", TASKS)
def test_another_count_than_the_official_one_is_refused(root: Path, task: Task) -> None:
    official = load_card(task).counts["train"]
    with pytest.raises(
        VltkError, match=rf"{task} train: . samples, the official split has {official:,}; .*--allow-non"
    ):
        Glue(Files(root), task=task).split("train")


@pytest.mark.parametrize("task", TASKS)
def test_absent_files_are_named(tmp_path: Path, task: Task) -> None:
    with pytest.raises(Missing, match=FORMS[task].folder):
        opened(tmp_path, task).split("train")


@pytest.mark.parametrize("task", [task for task in TASKS if task != "qqp"])
def test_a_file_that_is_cut_in_a_row_is_refused(root: Path, task: Task) -> None:
    path = root / FORMS[task].folder / "train.tsv"
    path.write_text(path.read_text().rstrip("\n").rpartition("\t")[0])
    with pytest.raises(VltkError, match=r"train\.tsv, line \d+: \d+ columns, not \d+: cut short"):
        opened(root, task).split("train")


@pytest.mark.parametrize(
    ("task", "old", "new", "message"),
    [
        ("cola", "\t1\t", "\t2\t", "line 1: the label '2' is none of 0, 1"),
        ("sst2", "film \t1", "film \tgood", "line 2: the label 'good' is none of 0, 1"),
        ("mnli", "\tcontradiction", "\t-", "line 3: the label '-' is none of entailment, neutral, contradiction"),
        ("rte", "\tentailment", "\tyes", "line 2: the label 'yes'"),
        ("stsb", "5.000", "5.5", "line 2: the score '5.5' is no number of 0 to 5"),
        ("stsb", "2.5", "nan", "line 3: the score 'nan'"),
    ],
)
def test_a_label_out_of_range_is_refused_with_its_line(
    root: Path, task: Task, old: str, new: str, message: str
) -> None:
    path = root / FORMS[task].folder / "train.tsv"
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(VltkError, match=message):
        opened(root, task).split("train")


def test_the_files_of_another_task_are_refused(root: Path) -> None:
    (root / "RTE" / "train.tsv").write_bytes((root / "QNLI" / "train.tsv").read_bytes())
    with pytest.raises(VltkError, match="no column sentence1, sentence2; have: index, question, sentence, label"):
        opened(root, "rte").split("train")


def test_an_empty_file_and_bytes_that_are_no_text_are_refused(root: Path) -> None:
    (root / "RTE" / "train.tsv").write_bytes(b"")
    (root / "RTE" / "dev.tsv").write_bytes(b"index\tsentence1\xff")
    with pytest.raises(VltkError, match="no column"):
        opened(root, "rte").split("train")
    with pytest.raises(VltkError, match=r"dev\.tsv: no UTF-8 at byte 15"):
        opened(root, "rte").split("dev")


def test_an_unknown_split_is_refused_with_those_there_are(root: Path) -> None:
    with pytest.raises(VltkError, match="mnli: no split 'dev'; have: train, dev_matched, dev_mismatched"):
        opened(root, "mnli").split("dev")
