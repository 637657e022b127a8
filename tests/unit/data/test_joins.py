"""Readers that join archives to samples: an image once, all its captions with it; and lists inside archives."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.unit.data.cards import fetched, statuses
from tests.unit.data.samples import picture
from vltk.data.card import UrlList
from vltk.data.dataset import open_dataset
from vltk.data.fetch.listed import bring_list
from vltk.data.fetch.policy import Policy
from vltk.data.sources._store import Store, objects
from vltk.errors import VltkError


@pytest.fixture
def photos(tmp_path: Path) -> Callable[[str, list[str]], str]:
    def made(name: str, names: list[str]) -> str:
        with zipfile.ZipFile(tmp_path / name, "w") as packed:
            for number, member in enumerate(names):
                packed.writestr(member, picture(number))
        return str(tmp_path / name)

    return made


def zipped(path: Path, name: str, content: object) -> dict[str, str]:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr(name, json.dumps(content))
    return {"url": str(path)}


def test_coco(tmp_path: Path, root: Path, photos: Callable[[str, list[str]], str]) -> None:
    names = [f"{number:012d}.jpg" for number in range(8)]
    notes = [{"image_id": number, "caption": f"photo {number}, {turn}"} for turn in range(5) for number in range(8)]
    facts = {"images": [{"id": n, "file_name": name} for n, name in enumerate(names)], "annotations": notes[:-1]}
    facts["images"].append({"id": 99, "file_name": "gone.jpg"})
    notes.insert(0, {"image_id": 99, "caption": "gone"})
    files = [
        {"url": photos("train.zip", [f"train/{name}" for name in names] + [f"val/{name}" for name in names])},
        zipped(tmp_path / "notes.zip", "annotations/c.json", {**facts, "annotations": notes}),
    ]
    whole = {"kind": "archives", "files": files, "reader": "coco"}
    parts = {"": {"captions": "annotations/c.json", "images": "train"}}
    assert fetched({**whole, "parts": parts}) == ["mine"]
    dataset = open_dataset("mine")
    assert statuses(root) == {"ok": 8, "missing_file": 1}
    assert dataset.read(7).texts == [f"photo 7, {turn}" for turn in range(5)] and dataset.read(7).meta["image_id"] == 7
    with pytest.raises(VltkError, match=r"absent.json is not in train.zip, notes.zip; there is annotations/c.json"):
        fetched({**whole, "parts": {"": {"captions": "absent.json", "images": "train"}}}, replace=True)
    with pytest.raises(VltkError, match="imagse"):
        fetched({**whole, "parts": {"": {"captions": "annotations/c.json", "imagse": "train"}}}, replace=True)


def test_visual_genome(tmp_path: Path, root: Path, photos: Callable[[str, list[str]], str]) -> None:
    def region(number: int, phrase: str) -> dict[str, Any]:
        return {"region_id": number, "image_id": 1, "x": number, "y": 2, "width": 3, "height": 4, "phrase": phrase}

    entries = [
        {"id": 1, "regions": [region(1, "a red  dog"), region(2, "a cat"), region(3, "a red dog"), region(4, " ")]},
        {"id": 2, "regions": []},
        {"regions": [{**region(5, "grass"), "image_id": 3}]},
        {"id": 4, "regions": [{"phrase": "no box"}]},
    ]
    files = [
        {"url": photos("a.zip", ["VG_100K/1.jpg", "VG_100K/2.jpg"])}, {"url": photos("b.zip", ["VG_100K_2/3.jpg"])},
        zipped(tmp_path / "r.zip", "regions.json", entries),
    ]  # fmt: skip
    fetched({"kind": "archives", "files": files, "reader": "visual_genome", "parts": {"": {"regions": "regions.json"}}})
    dataset = open_dataset("mine")
    assert statuses(root) == {"ok": 2, "no_caption": 1, "unreadable_row": 1}
    first = dataset.read(0)
    assert first.texts == ["a red dog", "a cat"] and first.meta["boxes"] == [[1, 2, 3, 4], [2, 2, 3, 4]]


def test_localized_narratives(tmp_path: Path, root: Path, photos: Callable[[str, list[str]], str]) -> None:
    lines = [
        {"dataset_id": "mscoco_train2017", "image_id": "7", "caption": "There is a dog. It runs on grass. Yes."},
        {"dataset_id": "mscoco_train2017", "image_id": "7", "caption": "A dog on the grass. There is a dog."},
        {"dataset_id": "Flickr30k", "image_id": "12", "caption": "Two cats under a tree."},
    ]
    text = "\n".join([*(json.dumps(line) for line in lines), "{broken", '{"image_id": 1}'])
    (tmp_path / "n.jsonl").write_text(text)
    files = [{"url": str(tmp_path / "n.jsonl")}, {"url": photos("i.zip", ["train2017/000000000007.jpg", "f/12.jpg"])}]
    fetched(
        {"kind": "archives", "files": files, "reader": "localized_narratives", "parts": {"": {"captions": "n.jsonl"}}}
    )
    dataset = open_dataset("mine")
    assert dataset.read(0).texts == ["There is a dog.", "It runs on grass.", "A dog on the grass."]
    assert dataset.read(1).texts == ["Two cats under a tree."]
    assert statuses(root) == {"ok": 2, "unreadable_row": 2}


def test_parts_by_split(tmp_path: Path, root: Path, photos: Callable[[str, list[str]], str]) -> None:
    rows = [f'"[""dog {n}"", ""cat""]",{split},{n}.jpg' for n, split in enumerate(["train", "train", "val", "test"])]
    (tmp_path / "n.csv").write_text("\n".join(["raw,split,filename", *rows]))
    files = [{"url": str(tmp_path / "n.csv")}, {"url": photos("i.zip", [f"images/{n}.jpg" for n in range(4)])}]
    parts = {"train": {"captions": "n.csv", "split": "train"}, "dev": {"captions": "n.csv", "split": "val"}}
    names = fetched({"kind": "archives", "files": files, "reader": "karpathy", "parts": parts})
    assert names == ["mine/train", "mine/dev"] and sorted(path.name for path in (root / "mine").iterdir()) == [
        "dev",
        "train",
    ]
    assert len(open_dataset("mine/train")) == 2 and open_dataset("mine/dev").read(0).texts == ["dog 2", "cat"]


def test_lists_in_archives(tmp_path: Path, root: Path) -> None:
    note = {"url": "https://a.org/1.jpg", "caption": "a dog", "score": 3}
    with zipfile.ZipFile(tmp_path / "notes.zip", "w") as packed:
        packed.writestr(
            "annotations/a_2017.json", json.dumps({"info": {}, "annotations": [note, {**note, "url": None}]})
        )
        packed.writestr("annotations/b_2018.json", json.dumps({"info": {}, "annotations": [note]}))
        packed.writestr("readme.txt", "x")
    facts = {"kind": "urls", "files": [{"url": str(tmp_path / "notes.zip")}], "form": "parquet"}
    fetcher = UrlList.model_validate({**facts, "unpack": "*.json", "reader": "redcaps"})
    for _ in range(2):
        paths, described = bring_list(fetcher, root / "lists", Policy())
        assert [path.name for path in paths] == ["redcaps.parquet"] and described.reader is None
    assert pq.read_table(paths[0]).to_pylist() == [
        {"url": "https://a.org/1.jpg", "caption": "a dog"},
        {"url": None, "caption": "a dog"},
        {"url": "https://a.org/1.jpg", "caption": "a dog"},
    ]
    plain = UrlList.model_validate({**facts, "form": "json", "unpack": "a_*.json"})
    paths, described = bring_list(plain, root / "others", Policy())
    assert [path.name for path in paths] == ["a_2017.json"] and described == plain


def test_long_lists_are_read_one_object_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [{"a": "é" * (number % 50), "b": [number, {"c": "]},{["}]} for number in range(500)]
    for text in (json.dumps(entries), json.dumps(entries, indent=1, ensure_ascii=False), " [\n] "):
        monkeypatch.setattr("vltk.data.sources._store.CHUNK", 97)
        assert list(objects(io.BytesIO(text.encode()), "x.json")) == ([] if text == " [\n] " else entries)
    for damaged in (json.dumps(entries)[:-50], "{}", "<html>", "[{} {]", ""):
        with pytest.raises(VltkError, match="x.json"):
            list(objects(io.BytesIO(damaged.encode()), "x.json"))


def test_damaged_zip(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"PK\x03\x04nope")
    with pytest.raises(VltkError, match="a.zip is no whole zip"):
        Store([tmp_path / "a.zip"])
