"""Mirrors, hub files and archives become data sets: every row one status, stopped jobs go on, nothing taken twice."""

from __future__ import annotations

import io
import json
import pickle
import subprocess
import sys
import tarfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.unit.data.cards import OPTIONS, card, fetched, statuses
from tests.unit.data.samples import caption, picture
from vltk.data.card import Mirror, load_card
from vltk.data.dataset import open_dataset
from vltk.data.fetch import packing, sets
from vltk.data.fetch.options import FetchOptions
from vltk.data.fetch.sets import fetch_set
from vltk.data.prepare import Limits
from vltk.errors import Missing, VltkError


def tarred(path: Path, members: list[tuple[str, bytes]]) -> dict[str, str]:
    with tarfile.open(path, "w") as tar:
        for name, body in members:
            info = tarfile.TarInfo(name)
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))
    return {"url": str(path)}


def samples(first: int, count: int) -> list[tuple[str, bytes]]:
    return [
        (f"{number:05d}.{ending}", body)
        for number in range(first, first + count)
        for ending, body in (("jpg", picture(number)), ("txt", f"{caption(number)} {number}".encode()))
    ]


@pytest.fixture
def mirror(tmp_path: Path) -> dict[str, Any]:
    """Two tars of 10 good samples, the first with every odd one."""
    odd = [
        ("a.jpg", b"<html>"), ("a.txt", b"no image"),
        ("b.txt", b"alone"),
        ("c.jpg", picture(50)), ("c.txt", b"  "),
        ("d.jpg", picture(51)), ("d.pickle", pickle.dumps(Path)), ("d.json", json.dumps({"url": "https://a.org/d"}).encode()),
        ("dir.x/e.f.jpg", picture(52)), ("dir.x/e.txt", b"caf\xe9"),
    ]  # fmt: skip
    files = [tarred(tmp_path / "0.tar", samples(0, 10) + odd), tarred(tmp_path / "1.tar", samples(0, 10))]
    return {"kind": "mirror", "files": files}


def test_mirror(mirror: dict[str, Any], root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fetched(mirror) == ["mine"]
    dataset = open_dataset("mine")
    assert statuses(root) == {"ok": 21, "not_an_image": 1, "missing_file": 1, "no_caption": 2}
    assert len(dataset) == 21 and dataset.manifest["source"]["kind"] == "mirror"
    assert dataset.read(10).texts == ["café"] and dataset.read(10).key == "00000_dir_x/e"
    assert dataset.read(0).key == "00000_00000" and dataset.read(0).texts == [f"{caption(0)} 0"]
    assert len({dataset.read(index).key for index in range(21)}) == 21, "equal keys of two tars stay apart"
    assert [shard["samples"] for shard in dataset.manifest["shards"]] == [7, 4, 7, 3]
    assert (root.parent / "0.tar").exists() and not (root / "mine" / ".fetch").exists()
    assert "file 2 of 2" in capsys.readouterr().out
    before = (root / "mine" / "manifest.json").stat().st_mtime_ns
    fetched(mirror)
    assert (root / "mine" / "manifest.json").stat().st_mtime_ns == before, "there already"
    with pytest.raises(VltkError, match="made in another way.*--replace"):
        fetched(mirror, FetchOptions.model_validate({"short_side": 16}))
    fetched(mirror, FetchOptions.model_validate({"short_side": 16}), replace=True)
    assert len(open_dataset("mine")) == 21


@pytest.fixture
def stopped(mirror: dict[str, Any], root: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The mirror, its fetch stopped with two shards of the first tar done."""
    shards, first = 0, packing.ShardWriter.close

    def close(writer: Any) -> dict[str, Any]:
        nonlocal shards
        shards += 1
        if shards == 3:
            raise KeyboardInterrupt
        return first(writer)

    with monkeypatch.context() as patch:
        patch.setattr(packing.ShardWriter, "close", close)
        with pytest.raises(KeyboardInterrupt):
            fetched(mirror)
    return mirror


def test_a_stopped_fetch_with_other_options_loses_nothing(stopped: dict[str, Any], root: Path) -> None:
    done = {path: path.stat().st_mtime_ns for path in (root / "mine" / ".fetch" / "packed" / "shards").glob("*.tar")}
    assert len(done) == 2
    other = FetchOptions.model_validate({"shard_size": 14, "short_side": 32, "quality": 91})
    with pytest.raises(VltkError, match=r"quality was 90, is 91\n.*--restart"):
        fetched(stopped, other)
    with pytest.raises(VltkError, match="how the card says that they are read"):
        fetched({**stopped, "caption": ["json:text"]})
    with pytest.raises(VltkError, match="the files of the card"):
        fetched({**stopped, "files": stopped["files"][::-1]})
    assert {path: path.stat().st_mtime_ns for path in done} == done
    fetched({**stopped, "about": "the same, in other words"})
    assert statuses(root)["ok"] == 21
    fetched(stopped)
    fetched(stopped, other, replace=True)


def test_restart_forgets_what_was_begun(stopped: dict[str, Any], root: Path) -> None:
    fetched(stopped, FetchOptions.model_validate({"shard_size": 14, "short_side": 16}), restart=True)
    assert statuses(root)["ok"] == 21 and open_dataset("mine").manifest["source"]["short_side"] == 16


def test_keys_stay_unique_after_a_stop(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mirror = {"kind": "mirror", "files": [tarred(tmp_path / "0.tar", samples(0, 10) + samples(0, 10))]}
    fetched(mirror)
    whole = [open_dataset("mine").read(index).key for index in range(20)]
    assert len(set(whole)) == 20
    made, first = 0, packing.record

    def record(raw: Any, limits: Limits) -> Any:
        nonlocal made
        made += 1
        if made == 18:
            raise KeyboardInterrupt
        return first(raw, limits)

    with monkeypatch.context() as patch:
        patch.setattr(packing, "record", record)
        with pytest.raises(KeyboardInterrupt):
            fetched(mirror, replace=True)
    assert packing.begun(root / "mine")
    fetched(mirror, replace=True)
    assert [open_dataset("mine").read(index).key for index in range(20)] == whole


def test_captions_from_json(tmp_path: Path) -> None:
    members = [("a.jpg", picture(0)), ("a.json", json.dumps({"text": ["one dog", 3, "two dogs"]}).encode())]
    members += [("b.jpg", picture(1)), ("b.txt", b"a cat"), ("b.json", b"{broken")]
    fetched({"kind": "mirror", "files": [tarred(tmp_path / "0.tar", members)], "caption": ["txt", "json:text"]})
    dataset = open_dataset("mine")
    assert dataset.read(0).texts == ["one dog", "two dogs"] and dataset.read(1).texts == ["a cat"]


@pytest.mark.parametrize("stop", range(1, 26, 3))
def test_stopped_at_any_row_it_goes_on(
    mirror: dict[str, Any], root: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    fetched(mirror)
    whole = {path.name: path.read_bytes() for path in sorted((root / "mine" / "shards").iterdir())}
    made, first = Counter[str](), packing.record

    def record(raw: Any, limits: Limits) -> Any:
        made[raw.key] += 1
        if made.total() == stop:
            raise KeyboardInterrupt
        return first(raw, limits)

    monkeypatch.setattr(packing, "record", record)
    with pytest.raises(KeyboardInterrupt):
        fetched(mirror, replace=True)
    assert len(open_dataset("mine")) == 21, "the old one stays until the new one is whole"
    fetched(mirror, replace=True)
    assert {path.name: path.read_bytes() for path in sorted((root / "mine" / "shards").iterdir())} == whole
    again = sum(count - 1 for count in made.values())
    assert again <= 13, "one shard and what the threads held"


def test_a_line_of_the_journal_cut_by_a_kill(
    mirror: dict[str, Any], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "publish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        fetched(mirror)
    monkeypatch.undo()
    monkeypatch.setenv("VLTK_DATA", str(root))
    journal = root / "mine" / ".fetch" / "packed" / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-10])
    fetched(mirror)
    assert statuses(root)["ok"] == 21


def test_limit_dry_run_and_restart(mirror: dict[str, Any], root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fetched(mirror, dry_run=True)
    assert not (root / "mine").exists() and "2 files to download" in capsys.readouterr().out
    fetched(mirror, FetchOptions.model_validate({"limit": 12}))
    assert sum(statuses(root).values()) == 12 and len(open_dataset("mine")) == 10
    fetched(mirror, FetchOptions.model_validate({"limit": 17}), replace=True, restart=True)
    assert sum(statuses(root).values()) == 17


@pytest.mark.parametrize("size", [7000, None])
def test_a_cut_tar_is_named(mirror: dict[str, Any], root: Path, size: int | None) -> None:
    path = Path(mirror["files"][1]["url"])
    with tarfile.open(path) as tar:  # None: cut between two members
        path.write_bytes(path.read_bytes()[: size or tar.getmembers()[6].offset])
    with pytest.raises(VltkError, match=r"1\.tar is cut or damaged"):
        fetched(mirror)
    tarred(path, samples(10, 4))
    fetched(mirror)
    assert statuses(root)["ok"] == 15


def test_out_of_reach_it_names_the_other_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    whole = load_card("cc3m")
    assert isinstance(whole.fetchers[0], Mirror)
    with pytest.raises(Missing, match="other ways to cc3m") as caught:
        fetch_set(whole, "cc3m", whole.fetchers[0], OPTIONS)
    assert [command for _, command in caught.value.steps][0] == "vltk data fetch cc3m --from urls"
    assert len(caught.value.steps) == 2 and len(str(caught.value).splitlines()) == 5
    gone = {"kind": "archives", "files": [{"url": "http://127.0.0.1:9/a.zip"}], "reader": "coco"}
    with pytest.raises(VltkError, match="private_address"):
        fetched({**gone, "parts": {"": {"captions": "c.json", "images": "i"}}})


KILLED = """
import sys, time
from vltk.data.card import load_card
from vltk.data.fetch import packing, sets
from vltk.data.fetch.options import FetchOptions
record = packing.record
packing.record = lambda raw, limits: (time.sleep(0.05), record(raw, limits))[1]
card = load_card(sys.argv[1])
sets.fetch_set(card, "mine", card.fetchers[0], FetchOptions(shard_size=14, short_side=32))
"""


def test_killed_it_goes_on(mirror: dict[str, Any], root: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(json.dumps(card(mirror).model_dump(by_alias=True, exclude_unset=True)))
    with subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        next(line for line in child.stdout if "shards/" in line)
        time.sleep(0.05)
        child.kill()
    assert child.returncode == -9 and packing.begun(root / "mine") and not (root / "mine" / "manifest.json").exists()
    whole = load_card(str(path))
    assert isinstance(whole.fetchers[0], Mirror)
    fetch_set(whole, "mine", whole.fetchers[0], OPTIONS)
    dataset = open_dataset("mine")
    assert statuses(root)["ok"] == 21 and len({dataset.read(index).key for index in range(21)}) == 21


def test_too_small_a_disk_is_told_first(mirror: dict[str, Any], root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def small(folder: Path, needed: int) -> None:
        raise VltkError(f"too small for {needed}")

    monkeypatch.setattr(sets, "require_disk", small)
    with pytest.raises(VltkError, match="too small"):
        fetched(mirror)
    assert not (root / "mine").exists()


def parquet(path: Path, columns: dict[str, Any]) -> dict[str, str]:
    pq.write_table(pa.table(columns), path)
    return {"url": str(path)}


def test_hub_images(tmp_path: Path, root: Path) -> None:
    images = [{"bytes": picture(number), "path": "x"} for number in range(9)] + [{"bytes": b"x", "path": None}, None]
    columns = {
        "image": images,
        "label": list(range(11)),
        "lang": ["en"] * 10 + ["de"],
        "texts": [["a dog", "two"]] * 11,
    }
    files = [parquet(tmp_path / "a.parquet", columns)]
    fetched({"kind": "hub", "files": files, "image": "image", "meta": ["label"], "filter": {"where": {"lang": "en"}}})
    dataset = open_dataset("mine")
    assert statuses(root) == {"ok": 9, "not_an_image": 1, "filtered": 1}
    assert dataset.read(8).meta == {"label": 8} and not dataset.has_texts
    fetched({"kind": "hub", "files": files, "image": "image", "captions": ["texts", "lang"]}, replace=True)
    assert open_dataset("mine").read(0).texts == ["a dog", "two", "en"]
    with pytest.raises(VltkError, match="no column picture; have: image, label"):
        fetched({"kind": "hub", "files": files, "image": "picture"}, replace=True)


def test_hub_text(tmp_path: Path, root: Path) -> None:
    long = " ".join(f"Sentence number {number} of a long text." for number in range(40))
    files = [parquet(tmp_path / "a.parquet", {"text": [long, "", None, "Too short.", "Three words here."]})]
    fetched({"kind": "hub", "files": files, "text": "text"})
    dataset = open_dataset("mine")
    texts = [dataset.read(index).texts[0] for index in range(len(dataset))]
    assert all(text.endswith(".") and len(text.split()) <= 60 for text in texts) and " ".join(texts[:-1]) == long
    assert statuses(root) == {"ok": len(texts), "no_caption": 2, "filtered": 1}
