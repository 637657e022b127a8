"""`vltk data ls` and `rm`: what is there, what could be, and taking away only what vltk wrote below the data root."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.unit.data.token_sets import documents_on_disk, made  # noqa: F401
from vltk.cli_data import data_app
from vltk.data.card import load_card
from vltk.data.dataset import Dataset, dataset_names
from vltk.data.shard import Record, write_dataset
from vltk.data.shelf import doomed, estimated_bytes, expected_yield, ls, remove
from vltk.data.text import Tokenizer
from vltk.errors import VltkError


def test_ls(make: Callable[..., Dataset], root: Path) -> None:
    make("coco", 9)
    make("photos/train", 3)
    (root / "cc12m" / ".fetch").mkdir(parents=True)
    (root / "odd").mkdir()
    (root / "odd" / "manifest.json").write_text("{")
    rows = {row.name: row for row in ls()}
    assert rows["coco"].on_disk and rows["coco"].counts == "9 samples, 9 images, 27 texts"
    assert rows["coco"].licence.startswith("annotations CC BY") and rows["photos/train"].licence == ""
    assert rows["coco"].bytes == sum(path.stat().st_size for path in (root / "coco" / "shards").glob("*.tar"))
    assert "cannot be read" in rows["odd"].state and "vltk data rm odd" in rows["odd"].state
    assert rows["cc12m"].state == "fetching, not finished" and rows["cc3m"].state == "not on disk"
    assert rows["books"].state == "by hand" and rows["cc3m"].expected == "70% (2024-01)"
    assert rows["cc3m"].counts == "3,318,333 samples (unverified)" and rows["cc12m"].counts == "12,423,374 samples"
    assert list(rows).index("photos/train") < list(rows).index("books"), "those on disk come first"


def test_estimates() -> None:
    assert estimated_bytes(load_card("cc12m")) == int(12423374 * 0.637 * 24000)
    assert estimated_bytes(load_card("shapes")) is None and estimated_bytes(load_card("books")) is None
    assert expected_yield(load_card("coco")) == ""


def test_rm(make: Callable[..., Dataset], root: Path) -> None:
    make("photos/train", 3)
    make("photos/dev", 3)
    make("other", 3)
    (root / "photos" / "notes.txt").write_text("mine")
    (root / "photos" / "train" / "skip.parquet").write_text("x")
    kept = remove("photos")
    assert (
        dataset_names() == ["other"]
        and kept == []
        and [path.name for path in (root / "photos").iterdir()] == ["notes.txt"]
    )
    assert remove("other") == [] and not (root / "other").exists() and root.exists()
    with pytest.raises(VltkError, match="no data set 'other'"):
        remove("other")


def test_rm_of_one_part_leaves_the_others(make: Callable[..., Dataset], root: Path) -> None:
    for name in ("photos", "photos/dev", "photos/devil"):
        make(name, 3)
    remove("photos/dev")
    assert dataset_names() == ["photos", "photos/devil"]
    (root / "photos" / "mine.txt").write_text("x")
    assert [path.name for path in remove("photos")] == ["mine.txt"]


@pytest.mark.parametrize("name", ["..", "../data", "/", "", ".", "a/../../b", "shapes/../.."])
def test_nothing_outside_the_root(make: Callable[..., Dataset], root: Path, tmp_path: Path, name: str) -> None:
    make("a", 3)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "manifest.json").write_text("{}")
    with pytest.raises(VltkError, match="nothing outside it is removed|no data set"):
        remove(name)
    assert dataset_names() == ["a"] and (tmp_path / "b" / "manifest.json").exists()


def test_links_are_not_followed(make: Callable[..., Dataset], root: Path, tmp_path: Path) -> None:
    make("a", 3)
    (root / "a").rename(tmp_path / "elsewhere")
    (root / "a").symlink_to(tmp_path / "elsewhere")
    make("b", 3)
    (root / "c").symlink_to(root / "b")
    for name in ("a", "c"):
        with pytest.raises(VltkError, match="is a link|nothing outside"):
            remove(name)
    (root / "b" / "shards").rename(tmp_path / "disk")
    (root / "b" / "shards").symlink_to(tmp_path / "disk")
    remove("b")
    assert len(list((tmp_path / "disk").iterdir())) == 2, "only the link goes"
    assert (tmp_path / "elsewhere" / "manifest.json").exists()


def test_data_sets_behind_links_are_listed_and_stay(make: Callable[..., Dataset], root: Path, tmp_path: Path) -> None:
    make("photos", 3)
    make("photos/far", 3)
    (root / "photos" / "far").rename(tmp_path / "far")
    (root / "photos" / "far").symlink_to(tmp_path / "far")
    (tmp_path / "far" / "up").symlink_to(root)  # a loop
    (tmp_path / "far" / "self").symlink_to(tmp_path / "far")
    (root / "out").symlink_to(tmp_path)  # a loop by way of the folder that all is in
    (root / "lost").symlink_to(tmp_path / "nowhere")
    (root / "again").symlink_to(tmp_path / "far")
    assert dataset_names() == ["again", "out/far", "photos", "photos/far"]
    assert [row.name for row in ls() if row.on_disk] == dataset_names()
    remove("photos")
    assert (tmp_path / "far" / "manifest.json").exists() and dataset_names() == ["again", "out/far", "photos/far"]


def test_a_data_set_that_is_being_written_stays(make: Callable[..., Dataset], root: Path) -> None:
    make("a", 3)
    (root / "a" / ".fetch").mkdir()
    handle = os.open(root / "a" / ".fetch", os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(VltkError, match="another process is writing"):
        remove("a")
    os.close(handle)
    assert root / "a" / ".fetch" in doomed("a") and remove("a") == []


def test_commands(make: Callable[..., Dataset], root: Path) -> None:
    make("a", 3)
    make("b", 3)
    run = CliRunner()
    listed = run.invoke(data_app, ["ls"])
    assert listed.exit_code == 0 and f"On disk, below {root}" in listed.output
    assert re.search("^a +3 samples, 3 images, 9 texts  ", listed.output, re.MULTILINE)
    assert "70% (2024-01)" in listed.output and "licence: " in listed.output
    one = run.invoke(data_app, ["ls", "flickr30k"]).output
    assert (
        "to be accepted" in one and "way 1, --from archives: hf://datasets/nlphuji/" in one and "not checked: " in one
    )
    asked = run.invoke(data_app, ["rm", "a"], input="n\n")
    assert asked.exit_code == 1 and f"{root}/a/manifest.json" in asked.output and dataset_names() == ["a", "b"]
    assert run.invoke(data_app, ["rm", "a", "absent", "--yes"]).exit_code == 1 and dataset_names() == ["a", "b"]
    assert run.invoke(data_app, ["rm", "a", "b", "--yes"]).output == "removed: a\nremoved: b\n"
    assert dataset_names() == []


def test_rm_of_tokens_takes_what_a_run_left(source: Path, tokenizer: Tokenizer, root: Path) -> None:
    made(source, tokenizer, "t")
    (root / "t" / "tokenizer.json").write_text("{}")
    (root / "t" / ".tokens" / "tokens").mkdir(parents=True)
    handle = os.open(root / "t" / ".tokens", os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(VltkError, match="another process is writing"):
        remove("t")
    os.close(handle)
    assert (root / "t" / "vocab.txt").exists() and remove("t") == [] and not (root / "t").exists()
    (root / "begun" / ".tokens").mkdir(parents=True)
    assert remove("begun") == [] and not (root / "begun").exists(), "stopped before it was a data set"


def test_a_vocabulary_of_the_user_stays(
    make: Callable[..., Dataset], source: Path, tokenizer: Tokenizer, root: Path
) -> None:
    make("a", 3)
    (root / "a" / "vocab.txt").write_text("mine")
    write_dataset(root / "a", [Record("k", None, ["a text"])], source={}, replace=True)
    assert [path.name for path in remove("a")] == ["vocab.txt"]
    made(source, tokenizer, "t")
    write_dataset(root / "t", [Record("k", None, ["a text"])], source={}, replace=True)
    assert not (root / "t" / "vocab.txt").exists(), "the copy of the tokens goes with them"
