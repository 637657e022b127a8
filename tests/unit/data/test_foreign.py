"""Tars of other tools: every member found whatever its order and header, nothing unpickled, every damage named."""

from __future__ import annotations

import io
import json
import os
import pickle
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.unit.data.samples import OPTIONS, picture
from vltk.data.build import shard
from vltk.data.dataset import open_dataset
from vltk.data.foreign import index, is_webdataset, tars_of
from vltk.data.shard import Record, write_dataset
from vltk.data.stream import Stream
from vltk.errors import VltkError

Member = tuple[str, bytes]


@pytest.fixture
def tars(tmp_path: Path) -> Path:
    (tmp_path / "tars").mkdir()
    return tmp_path / "tars"


def put(path: Path, members: Sequence[Member], format: int = tarfile.USTAR_FORMAT) -> Path:
    with tarfile.open(path, "w", format=format) as tar:
        for name, body in members:
            info = tarfile.TarInfo(name)
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))
    return path


def triple(number: int) -> list[Member]:
    """As img2dataset writes a sample."""
    facts = {"caption": f"caption {number}", "url": f"http://x/{number}", "width": 48}
    key = f"{number:09d}"
    return [
        (f"{key}.jpg", picture(number)),
        (f"{key}.json", json.dumps(facts).encode()),
        (f"{key}.txt", b"text %d" % number),
    ]


def test_img2dataset_output_is_read_in_place(tars: Path, root: Path) -> None:
    for number in range(3):
        put(tars / f"{number:05d}.tar", [member for n in range(4) for member in triple(10 * number + n)])
        (tars / f"{number:05d}_stats.json").write_text("{}")
    before = {path: path.read_bytes() for path in tars.iterdir()}
    made = shard(tars, "mine")
    dataset = open_dataset("mine")
    assert made.samples == made.images == made.texts == len(dataset) == 12 and dataset.has_images and dataset.has_texts
    sample = dataset.read(5)
    assert (sample.key, sample.image, sample.texts) == ("000000011", picture(11), ["text 11"])
    assert sample.meta == {"caption": "caption 11", "url": "http://x/11", "width": 48}
    assert {path: path.read_bytes() for path in tars.iterdir()} == before
    kept = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
    assert kept == ["mine/manifest.json", *(f"mine/shards/{n:05d}.idx" for n in range(3))]


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_in_any_order_and_header(tars: Path, format: int) -> None:
    """Members of a sample apart, long and odd names, folders, other files between them."""
    long = "deep/" * 18 + "a" * (20 if format == tarfile.USTAR_FORMAT else 200)
    members = [
        ("b.txt", b"text of b"),
        (f"{long}.json", b'{"captions": ["one", "two"], "label": 3}'),
        ("./dir.v1/c.x.jpeg", picture(3)),
        ("b.JPG", picture(2)),
        ("notes.md", b"# not a sample"),
        ("dir.v1/c.txt", b"\xef\xbb\xbf" + "größe".encode() + b" \xe9"),
        (f"{long}.png", picture(1)),
    ]
    put(tars / "one.tar", members, format)
    made = index([tars / "one.tar"], "mine")
    dataset = open_dataset("mine")
    assert [dataset.read(n).key for n in range(3)] == ["b", long, "dir.v1/c"]
    assert [dataset.read(n).image for n in range(3)] == [picture(2), picture(1), picture(3)]
    assert [dataset.read(n).texts for n in range(3)] == [["text of b"], ["one", "two"], ["größe é"]]
    assert dataset.read(1).meta == {"label": 3} and made.source["ignored"] == {"md": 1} and made.texts == 4


def test_pickles_are_never_opened(tars: Path, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "went off"),)

    body = pickle.dumps(Bomb())
    put(tars / "one.tar", [*triple(1), *(("000000001." + end, body) for end in ("pkl", "pyd", "pickle", "pth"))])
    index([tars / "one.tar"], "mine")
    views = {"image": {"maker": "image", "size": 8}}
    Stream([open_dataset("mine")], views, batch_size=2, image=OPTIONS).micro_batches(0)
    assert not (tmp_path / "went off").exists()


def test_a_key_that_comes_again_is_a_new_sample(tars: Path) -> None:
    put(tars / "one.tar", [("a.jpg", picture(1)), ("a.txt", b"one"), ("a.jpg", picture(2)), ("a.txt", b"two")])
    index([tars / "one.tar"], "mine")
    dataset = open_dataset("mine")
    assert [(s.key, s.image, s.texts) for s in map(dataset.read, range(2))] == [
        ("a", picture(1), ["one"]),
        ("a", picture(2), ["two"]),
    ]


def test_captions_only_in_json(tars: Path) -> None:
    put(tars / "one.tar", [triple(1)[0], triple(1)[1], ("b.jpg", picture(2)), ("b.json", b'{"caption": null}')])
    assert index([tars / "one.tar"], "mine").texts == 1
    dataset = open_dataset("mine")
    assert dataset.read(0).texts == ["caption 1"] and dataset.read(1).texts == [] and not dataset.has_texts


def test_broken_json_is_counted_and_left_out(tars: Path) -> None:
    broken = [("b.jpg", picture(2)), ("b.json", b'{"caption": '), ("c.json", b"[1]"), ("c.txt", b"c")]
    made = index([put(tars / "one.tar", [*triple(1), *broken])], "mine")
    samples = [open_dataset("mine").read(n) for n in range(3)]
    assert [(one.key, one.texts) for one in samples[1:]] == [("b", []), ("c", ["c"])]
    assert samples[1].image == picture(2) and made.source["ignored"] == {"json unreadable": 2}


def test_every_damaged_tar_is_named(tars: Path, root: Path) -> None:
    whole = put(tars / "0.tar", [member for n in range(40) for member in triple(n)]).read_bytes()
    with tarfile.open(tars / "0.tar") as tar:
        border = tar.getmembers()[60].offset
    (tars / "1.tar").write_bytes(whole[: len(whole) // 2 + 77])
    (tars / "2.tar").write_bytes(whole[:border])  # reads clean elsewhere, with half of the samples
    (tars / "3.tar").write_bytes(whole + whole)
    (tars / "4.tar").write_bytes(b"<html>not found</html>")
    put(tars / "5.tar", [("readme.md", b"nothing")])
    with pytest.raises(VltkError) as caught:
        index(tars_of(tars), "mine")
    text = str(caught.value)
    assert [number for number in range(6) if f"{number}.tar: " in text] == [1, 2, 3, 4, 5]
    assert "2.tar: it has no end mark" in text and "3.tar: more data follows" in text and "5.tar: no sample" in text
    assert not (root / "mine/manifest.json").exists()


def test_a_tar_that_changed_is_named(tars: Path) -> None:
    path = put(tars / "0.tar", [member for n in range(4) for member in triple(n)])
    index([path], "mine")
    dataset = open_dataset("mine")
    data = path.read_bytes()
    path.write_bytes(data[:1024] + data[:-1024])
    with pytest.raises(VltkError, match="sample 0 is not where the index says"):
        dataset.read(0)
    path.write_bytes(data + b"\0" * 512)
    with pytest.raises(VltkError, match="0.tar: .*cut or changed"):
        open_dataset("mine")
    path.unlink()
    with pytest.raises(VltkError, match="0.tar: the file is gone"):
        open_dataset("mine")


def test_the_data_root_can_move(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "mirror").mkdir(parents=True)
    put(root / "mirror/0.tar", triple(1))
    index([root / "mirror/0.tar"], "mine")
    root.rename(tmp_path / "moved")
    monkeypatch.setenv("VLTK_DATA", str(tmp_path / "moved"))
    assert open_dataset("mine").read(0).image == picture(1)


def test_nothing_is_lost_by_replacing(tars: Path, root: Path) -> None:
    path = put(tars / "0.tar", triple(1))
    index([path], "mine")
    with pytest.raises(VltkError, match="exists already"):
        index([path], "mine")
    put(path, [*triple(1), *triple(2)])
    assert index([path], "mine", replace=True).samples == 2 == len(open_dataset("mine"))
    write_dataset(root / "own", [Record("k", None, ["text"])], source={})
    with pytest.raises(VltkError, match="holds shards of its own"):
        index([path], "own", replace=True)
    assert len(open_dataset("own")) == 1
    inside = put(root / "own/shards/tars.tar", triple(1))
    with pytest.raises(VltkError, match="would hold the data set"):
        index([inside], "own")


def test_what_is_recognised(tars: Path, tmp_path: Path) -> None:
    pairs = put(tars / "0.tar", triple(1))
    images = put(tmp_path / "images.tar", [("a.jpg", picture(1)), ("b.jpg", picture(2))])
    assert is_webdataset(tars) and is_webdataset(pairs) and is_webdataset("s3://b/{0..9}.tar")
    assert not is_webdataset(images) and not is_webdataset(tmp_path / "absent.tar")
    assert tars_of("gs://b/x{08..11}.tar") == [f"gs://b/x{n}.tar" for n in ("08", "09", "10", "11")]
    assert tars_of(str(tars / "{0..1}.tar")) == [tars / "0.tar", tars / "1.tar"]
    with pytest.raises(VltkError, match="first and a last number"):
        tars_of("s3://b/{a,b}.tar")
    (tars / "a.jpg").write_bytes(picture(1))
    assert not is_webdataset(tars)
