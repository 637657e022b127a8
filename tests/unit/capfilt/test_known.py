"""What a run knows of the data of a job: images that are in what it was trained on, by hashes or by keys."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.capfilt import jobs
from vltk.capfilt.known import Known, known
from vltk.capfilt.overlap import origins, shared
from vltk.data import skip
from vltk.data.dataset import open_dataset
from vltk.data.hashes import sha256
from vltk.data.shard import Record, write_dataset
from vltk.data.skip import Skip
from vltk.errors import VltkError
from vltk.run import RunFolder


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VLTK_DATA", str(tmp_path))
    return tmp_path


def write(root: Path, name: str, pictures: Sequence[int], hashed: bool, key: str = "k{}", **source: Any) -> None:
    """A data set of these pictures in two shards or more; with the hashes of their bytes in its rows."""

    def record(number: int) -> Record:
        image = jobs.picture(number)
        return Record(key.format(number), image, ["ba be"], row={"sha256": sha256(image)} if hashed else {})

    write_dataset(root / name, map(record, pictures), {"kind": "test", **source}, 8)


@pytest.mark.parametrize(
    ("hashed", "key", "count"),
    [
        ((True, True), "other{}", 10),  # equal hashes, whatever the keys
        ((False, True), "k{}", 10),
        ((True, False), "k{}", 10),
        ((False, False), "k{}", 10),
        ((False, False), "other{}", 0),  # nothing tells them
    ],
)
def test_shared_images_are_counted(root: Path, hashed: tuple[bool, bool], key: str, count: int) -> None:
    write(root, "web", range(20), hashed[0])
    write(root, "train", range(10, 40), hashed[1], key)
    assert shared("web", "train") == count


@pytest.mark.parametrize("hashed", [True, False])
def test_equal_keys_of_other_images_are_none(root: Path, hashed: bool) -> None:
    write(root, "web", range(20), hashed, "k")
    write(root, "train", range(20, 40), hashed, "k")
    assert shared("web", "train") == 0


@pytest.mark.parametrize("left_out", ["web", "train"])
def test_what_a_skip_list_leaves_out_is_not_shared(root: Path, left_out: str) -> None:
    write(root, "web", range(20), True)
    write(root, "train", range(20), True)
    skip.write(root / left_out, [Skip(number, f"k{number}", "exact", "x", 0) for number in range(15)])
    assert shared("web", "train") == 5


def test_what_was_packed_of_several_has_their_keys(root: Path) -> None:
    write(root, "web", range(20), False)
    write(root, "clean", range(5), False, "web/k{}", of={"web": "1", "people": "2"})
    assert shared("web", "clean") == shared("clean", "web") == 5


def test_two_that_were_made_of_each_other(root: Path) -> None:
    write(root, "one", range(5), True, of={"two": "1", "old": "2"})
    write(root, "two", range(5), True, of={"one": "1"})
    assert origins("one") == {"one", "two", "old"}


def test_data_without_rows(root: Path) -> None:
    write(root, "web", range(9), True)
    write(root, "train", range(9), True)
    shutil.rmtree(root / "train" / "rows")
    with pytest.raises(VltkError, match="train has no rows that tell its images"):
        shared("web", "train")


def about(root: Path, trained_on: Sequence[str], *data: str, human: Sequence[str] = (), **digests: str) -> Known:
    """What a filter knows that was trained on these data sets."""
    folder = RunFolder(root / "runs" / "judge" / "train")
    folder.path.mkdir(parents=True)
    folder.note(identity={"data": digests})
    asked = {name: SimpleNamespace(human=name in human) for name in data}
    job = SimpleNamespace(datasets={name: open_dataset(name) for name in data}, options=SimpleNamespace(data=asked))
    stage = SimpleNamespace(streams={"pairs": SimpleNamespace(data=list(trained_on))})
    model: Any = SimpleNamespace(role="filter", spec="judge", source=folder, stage=stage, job=job)
    return known(model)


def test_each_data_set_is_told_with_its_share(root: Path) -> None:
    write(root, "train", range(40), True)
    write(root, "same", range(40), True)
    write(root, "web", range(35, 65), True)
    write(root, "people", range(40), True)
    write(root, "fresh", range(100, 110), True)
    data = ("train", "same", "web", "people", "fresh")
    found = about(root, ["train"], *data, human=["people"], train=open_dataset("train").digest)
    assert found == Known(
        [
            "the filter judge was trained on train, same, 5 of the 30 images of web (in train), which this job scores: "
            "scores of images that it knows say little"
        ]
    )


def test_training_data_that_is_gone_is_no_warning(root: Path) -> None:
    write(root, "web", range(9), True)
    found = about(root, ["train"], "web", train="abc")
    assert found.told == []
    (said,) = found.unknown
    assert said.startswith(
        "what web shares with train, which the filter judge was trained on, is not known: the data set"
    )
    assert "'train' is not on disk" in said and "\n" not in said


def test_gone_but_named_by_the_manifest(root: Path) -> None:
    write(root, "clean", range(9), True, of={"train": "abc"})
    write(root, "cleaner", range(5), True, of={"clean": open_dataset("clean").digest})
    found = about(root, ["train"], "cleaner", train="abc")
    assert not found.unknown and "was trained on images of cleaner (made of train), which" in found.told[0]
