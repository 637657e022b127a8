"""Where official data sets are found, what is said of them, and what the cards say."""

from __future__ import annotations

import gzip
import importlib
import json
import shlex
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.official import captioned, glue, snli_ve, vqav2
from vltk.cli import app
from vltk.errors import Missing, RecipeError, VltkError
from vltk.eval import data_status as module
from vltk.eval.data_status import advice, all_names, checklist, data_status, facts
from vltk.eval.datasets._card import DataCard, card_names, load_card
from vltk.eval.datasets._places import find, steps, survey
from vltk.eval.datasets.coco import Coco
from vltk.eval.datasets.glue import Glue
from vltk.eval.datasets.snli_ve import SnliVe
from vltk.parts import PACKAGE

MADE = {"cifar-10-batches-py": ("batches.meta", *(f"data_batch_{at}" for at in range(1, 6)), "test_batch")}


def make_cifar10(root: Path, leave_out: str = "") -> None:
    for folder, names in MADE.items():
        (root / folder).mkdir(parents=True)
        for name in names:
            if name != leave_out:
                (root / folder / name).write_bytes(b"x" * 10)


def test_there_is_a_card_for_each_of_the_35_tasks() -> None:
    names = all_names()
    assert len(names) == len(set(names)) == 35 and set(names) <= set(card_names())


@pytest.mark.parametrize("name", card_names())
def test_every_card_is_whole(name: str) -> None:
    card = load_card(name)
    assert card.counts and all(count > 0 for count in card.counts.values())
    assert all(file.url is None or file.url.startswith(("http://", "https://")) for file in card.files)
    assert card.gated == "none" or card.by_hand, "a gate needs steps"
    assert all(other in card_names() for other in card.beside)
    assert (
        not card.inside
        or any(card.inside in path for file in card.files for path in (file.name, *file.holds))
        or (card.inside in ("data", "fer2013"))
    )


@pytest.mark.parametrize(
    "name", [name for name in card_names() if importlib.util.find_spec(f"vltk.eval.datasets.{name}")]
)
def test_loaders_and_cards_count_alike(name: str) -> None:
    loader = importlib.import_module(f"{PACKAGE}.eval.datasets.{name}")
    own = getattr(loader, "COUNTS", load_card(name).counts)
    assert load_card(name).counts == {split: count for split, count in own.items() if split != "classes"}


def test_qqp_and_stsb_are_not_exchanged() -> None:
    files = {name: load_card(name).files[0] for name in ("qqp", "stsb")}
    assert str(files["qqp"].url).endswith("QQP-clean.zip") and files["qqp"].holds[0] == "QQP/train.tsv"
    assert str(files["stsb"].url).endswith("STS-B.zip") and files["stsb"].holds[0] == "STS-B/train.tsv"


def test_a_card_without_a_way_to_its_files_is_refused() -> None:
    with pytest.raises(ValueError, match="by_hand"):
        DataCard.model_validate(
            {"name": "x", "about": "", "licence": {"id": ""}, "files": [{"name": "a.zip"}], "counts": {"test": 1}}
        )


def at_eval(data: Path) -> Path:
    return data / "eval" / "cifar10"


def at_usual(data: Path) -> Path:
    return data / "cifar-10"


def at_root(data: Path) -> Path:
    return data


def one_deeper(data: Path) -> Path:
    return data / "eval" / "cifar10" / "unpacked"


@pytest.mark.parametrize("place", [at_eval, at_usual, at_root, one_deeper])
def test_a_data_set_is_found_where_it_usually_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: Callable[[Path], Path]
) -> None:
    monkeypatch.setenv("VLTK_DATA", str(tmp_path))
    make_cifar10(place(tmp_path))
    (tmp_path / "other.zip").write_bytes(b"no zip")
    assert survey("cifar10").state == "ready"
    assert find("cifar10").read("cifar-10-batches-py/test_batch") == b"x" * 10


@pytest.mark.parametrize("inner", ["", "glue", "somewhere/glue"])
def test_data_may_be_given_as_any_of_the_folders(tmp_path: Path, inner: str) -> None:
    glue.make(tmp_path / inner)
    for data in (tmp_path / inner, tmp_path / inner / "RTE", (tmp_path / inner).parent):
        if data.is_relative_to(tmp_path) and data != tmp_path.parent:
            assert len(Glue(find("rte", data), task="rte", nonstandard=True).split("dev")) == 2


def test_the_folder_of_another_task_is_not_taken(tmp_path: Path) -> None:
    glue.make(tmp_path)
    assert survey("cola", tmp_path / "SST-2").state == "absent"


def test_a_tar_gz_is_named_with_the_command_that_puts_it_in_place(tmp_path: Path) -> None:
    make_cifar10(tmp_path / "made")
    home = tmp_path / "eval data" / "cifar10"
    home.mkdir(parents=True)
    with tarfile.open(home / "cifar-10-python.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "made" / "cifar-10-batches-py", "cifar-10-batches-py")
    found = survey("cifar10", home.parent)
    assert found.state == "partial" and [one.state for one in found.files] == ["packed"]
    command = steps(found, home.parent)[0][1]
    assert shlex.split(command) == ["gunzip", str(home / "cifar-10-python.tar.gz")]
    packed = home / "cifar-10-python.tar.gz"
    (home / "cifar-10-python.tar").write_bytes(gzip.decompress(packed.read_bytes()))
    assert survey("cifar10", home.parent).state == "ready"
    assert find("cifar10", home.parent).read("cifar-10-batches-py/test_batch") == b"x" * 10


def test_exactly_the_missing_files_are_named(tmp_path: Path) -> None:
    make_cifar10(tmp_path, leave_out="data_batch_3")
    found = survey("cifar10", tmp_path)
    assert found.state == "partial"
    assert steps(found, tmp_path) == [
        ("cifar-10-batches-py/data_batch_3", f"vltk eval --fetch cifar10 --data {tmp_path}")
    ]


def test_nothing_anywhere_says_where_was_looked(tmp_path: Path) -> None:
    with pytest.raises(Missing) as missing:
        find("flickr30k", tmp_path)
    text = str(missing.value)
    assert all(str(tmp_path / place) in text for place in ("flickr30k", "Flickr30k")) and f"{tmp_path})" in text
    assert f"vltk eval --fetch flickr30k --data {tmp_path}" in text and "fill the form" in text


def test_photos_of_another_data_set_are_found_there(tmp_path: Path) -> None:
    snli_ve.make(tmp_path / "made")
    (tmp_path / "flickr30k").mkdir()
    (tmp_path / "made" / "flickr30k_images").rename(tmp_path / "flickr30k" / "flickr30k-images")
    (tmp_path / "made").rename(tmp_path / "snli_ve")
    assert survey("snli_ve", tmp_path).state == "ready"
    assert len(SnliVe(find("snli_ve", tmp_path), nonstandard=True).split("test")) == 3


def test_coco_takes_the_photos_of_vqa(tmp_path: Path) -> None:
    captioned.make_coco(tmp_path / "coco")
    vqav2.make(tmp_path / "vqav2")
    (tmp_path / "coco" / "val2014").rename(tmp_path / "photos")
    for path in (tmp_path / "photos").iterdir():
        path.rename(tmp_path / "vqav2" / "val2014" / path.name)
    assert survey("coco", tmp_path).state == "ready"
    assert len(Coco(find("coco", tmp_path), nonstandard=True).split("test")) == 2


def test_a_small_archive_of_another_name_is_looked_into(tmp_path: Path) -> None:
    make_cifar10(tmp_path / "made")
    (tmp_path / "data").mkdir()
    with zipfile.ZipFile(tmp_path / "data" / "mine.zip", "w") as packed:
        for path in (tmp_path / "made").rglob("*_*"):
            if path.is_file():
                packed.write(path, path.relative_to(tmp_path / "made"))
        packed.writestr("cifar-10-batches-py/batches.meta", b"")
    (tmp_path / "data" / "broken.zip").write_bytes(b"no zip")
    assert survey("cifar10", tmp_path / "data").state == "ready"
    assert find("cifar10", tmp_path / "data").read("cifar-10-batches-py/test_batch") == b"x" * 10


@pytest.mark.parametrize("name", ["cifar-10-python.tar", "mine.tar"])
def test_a_damaged_archive_is_neither_ready_nor_absent(name: str, tmp_path: Path) -> None:
    """Whether its name is the official one or not."""
    make_cifar10(tmp_path / "made")
    path = tmp_path / "cifar10" / name
    path.parent.mkdir()
    with tarfile.open(path, "w") as tar:
        tar.add(tmp_path / "made" / "cifar-10-batches-py", "cifar-10-batches-py")
    path.write_bytes(path.read_bytes()[:3000])
    found = survey("cifar10", tmp_path)
    assert found.state == "partial"
    told = "\n".join(advice([found], tmp_path))
    assert f"{path} is damaged or cut short" in told and f"after rm {path}" in told
    assert facts(found, tmp_path)["damaged"] == [str(path)] and steps(found, tmp_path)[0][1] == f"rm {path}"
    with pytest.raises(VltkError, match="is damaged or cut short") as caught:
        find("cifar10", tmp_path)
    assert not isinstance(caught.value, Missing)


def test_status_has_a_row_a_data_set_and_says_what_to_do(tmp_path: Path) -> None:
    make_cifar10(tmp_path / "cifar10", leave_out="test_batch")
    glue.make(tmp_path / "glue")
    surveys = data_status(tmp_path)
    states = {found.card.name: found.state for found in surveys}
    assert list(states) == all_names()
    assert states["cifar10"] == "partial" and states["rte"] == "ready" and states["imagenet"] == "absent"
    told = "\n".join(advice(surveys, tmp_path))
    assert "cifar10 is partial; not in place: cifar-10-batches-py/test_batch" in told
    assert "imagenet, by hand" in told and "\n  1. make an account" in told
    row = facts(next(found for found in surveys if found.card.name == "cifar10"), tmp_path)
    assert row["bytes_found"] == 60 and row["bytes_found_is_all"] and row["counts"]["test"] == 10_000
    assert row["missing"] == ["cifar-10-batches-py/test_batch"] and row["folder"] == str(tmp_path / "cifar10")


def test_many_files_are_counted_up_to_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOKED", 3)
    make_cifar10(tmp_path)
    row = facts(survey("cifar10", tmp_path))
    assert row["bytes_found"] == 30 and not row["bytes_found_is_all"]


def test_a_ready_data_set_has_no_checklist(tmp_path: Path) -> None:
    make_cifar10(tmp_path)
    assert checklist(survey("cifar10", tmp_path), tmp_path) == [] and steps(survey("cifar10", tmp_path), tmp_path) == []


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(RecipeError, match="no official data set 'mnits'; did you mean 'mnist'"):
        data_status(None, ["mnits"])
    with pytest.raises(VltkError, match="no official data set 'mnits'"):
        survey("mnits")


def test_the_command_prints_json_and_a_table(tmp_path: Path) -> None:
    make_cifar10(tmp_path)
    options = ["eval", "--data-status", "--data", str(tmp_path)]
    done = CliRunner().invoke(app, [*options, "--json"])
    rows = json.loads(done.output)
    assert done.exit_code == 0 and len(rows) == 35 and [row["state"] for row in rows].count("ready") == 1
    lone = CliRunner().invoke(app, ["eval", "--dry-run"])
    assert lone.exit_code == 1 and "--dry-run goes with --fetch" in str(lone.exception)
    shown = CliRunner().invoke(app, [*options, "--tasks", "cifar10,stl10"])
    assert shown.exit_code == 0 and "1 of 2 official data sets are ready" in shown.output
    assert f"vltk eval --fetch stl10 --data {tmp_path}" in shown.output
    every = CliRunner().invoke(app, options).output.splitlines()
    assert all(any(load_card(name).licence.id in line for line in every) for name in all_names())
    assert max(map(len, every)) < module.UNBOUNDED
