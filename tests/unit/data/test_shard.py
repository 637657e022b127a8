"""Shards: readable by others, deterministic, complete or absent, every damage named."""

from __future__ import annotations

import errno
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.unit.data.samples import picture
from vltk.data.dataset import dataset_names, open_dataset
from vltk.data.shard import Record, Rejected, safe_key, write_dataset
from vltk.errors import Missing, VltkError


def records(count: int = 8) -> Iterator[Record | Rejected]:
    for index in range(count):
        yield Record(f"dir/k{index}", picture(index), [f"text {index}", "ünï"], {"label": index})
        if index % 3 == 0:
            yield Rejected(f"lost{index}", "missing_file", "not there")


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_samples_come_back(root: Path) -> None:
    write_dataset(root / "a/b", records(), source={"kind": "test"}, samples_per_shard=3)
    dataset = open_dataset("a/b")
    assert len(dataset) == 8 and dataset.has_images and dataset.has_texts and dataset_names() == ["a/b"]
    for index in range(8):
        sample = dataset.read(index)
        assert sample.key == f"dir/k{index}" and sample.image == picture(index)
        assert sample.texts == [f"text {index}", "ünï"] and sample.meta == {"label": index}
    with pytest.raises(IndexError):
        dataset.read(8)


def test_any_tar_reader_finds_webdataset_members(root: Path) -> None:
    write_dataset(root / "a", records(), source={}, samples_per_shard=3)
    with tarfile.open(root / "a/shards/00000.tar") as tar:
        assert tar.getnames()[:3] == ["dir/k0.jpg", "dir/k0.txt", "dir/k0.json"]
        member = tar.extractfile("dir/k1.json")
        assert member is not None and json.load(member)["captions"] == ["text 1", "ünï"]


def test_webdataset_reads_it(root: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    write_dataset(root / "a", records(), source={}, samples_per_shard=3)
    urls = [str(path) for path in sorted((root / "a/shards").glob("*.tar"))]
    found = list(webdataset.WebDataset(urls, shardshuffle=False))
    assert [sample["__key__"] for sample in found] == [f"dir/k{index}" for index in range(8)]
    assert found[2]["jpg"] == picture(2)


def test_every_row_has_a_status(root: Path) -> None:
    manifest = write_dataset(root / "a", records(), source={}, samples_per_shard=3)
    assert manifest.statuses == {"ok": 8, "missing_file": 3} and manifest.samples == 8 and manifest.texts == 16
    tables = [pq.read_table(path).to_pylist() for path in sorted((root / "a/rows").glob("*.parquet"))]
    rows = [row for table in tables for row in table]
    assert [row["row"] for row in rows] == list(range(11))
    assert {name: value for name, value in rows[1].items() if value is not None} == {
        "row": 1, "key": "lost0", "status": "missing_file", "detail": "not there", "shard": -1, "texts": 0,
    }  # fmt: skip
    assert [row["shard"] for row in rows if row["status"] == "ok"] == [0, 0, 0, 1, 1, 1, 2, 2]
    assert manifest.rows == 11 and [shard["rows"] for shard in manifest.shards] == [len(table) for table in tables]
    assert manifest.shards[1]["statuses"] == {"missing_file": 1, "ok": 3} and manifest.shards[1]["texts"] == 6
    assert manifest.format == 2 and set(manifest.tools) == {"vltk", "pyarrow", "opencv", "simplejpeg"}


def test_equal_records_give_equal_bytes(root: Path) -> None:
    write_dataset(root / "a", records(), source={}, samples_per_shard=3)
    write_dataset(root / "b", records(), source={}, samples_per_shard=3)
    assert files(root / "a") == files(root / "b")
    assert open_dataset("a").digest == open_dataset("b").digest
    write_dataset(root / "c", records(7), source={}, samples_per_shard=3)
    assert open_dataset("c").digest != open_dataset("a").digest


def test_failure_leaves_nothing(root: Path) -> None:
    def failing() -> Iterator[Record | Rejected]:
        yield from records()
        raise VltkError("the input broke")

    with pytest.raises(VltkError, match="the input broke"):
        write_dataset(root / "x/y", failing(), source={}, samples_per_shard=3)
    assert not root.exists()
    with pytest.raises(VltkError, match="no usable sample: 2 missing_file"):
        write_dataset(root / "x", [Rejected("a", "missing_file"), Rejected("b", "missing_file")], source={})
    assert not root.exists()


def test_existing_data_set_is_kept_unless_replaced(root: Path) -> None:
    write_dataset(root / "a", records(), source={}, samples_per_shard=3)
    before = files(root / "a")
    with pytest.raises(VltkError, match="exists already.*--replace"):
        write_dataset(root / "a", records(2), source={})
    broken = (Record("x", None, ["t"]) if index < 3 else Record("y", None) for index in range(5))
    with pytest.raises(ValueError, match="neither image nor text"):
        write_dataset(root / "a", broken, source={}, replace=True)
    assert files(root / "a") == before
    write_dataset(root / "a", records(2), source={}, replace=True)
    assert len(open_dataset("a")) == 2 and sorted(path.name for path in (root / "a").iterdir()) == [
        "manifest.json",
        "rows",
        "shards",
    ]


def test_a_full_disk_leaves_nothing(root: Path) -> None:
    def full() -> Iterator[Record | Rejected]:
        yield from records()
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(VltkError, match="nothing was written.*No space left"):
        write_dataset(root / "x", full(), source={})
    assert not root.exists()


def test_a_second_writer_is_refused(root: Path) -> None:
    def nested() -> Iterator[Record | Rejected]:
        with pytest.raises(VltkError, match="another process is writing"):
            write_dataset(root / "a", records(), source={})
        yield from records()

    assert write_dataset(root / "a", nested(), source={}).samples == 8


def test_leftovers_of_a_killed_writer_are_cleared(root: Path) -> None:
    (root / "a/.part/shards").mkdir(parents=True)
    (root / "a/.part/shards/00000.tar").write_bytes(b"half")
    with pytest.raises(Missing):
        open_dataset("a")
    write_dataset(root / "a", records(), source={})
    assert not (root / "a/.part").exists() and len(open_dataset("a")) == 8


def test_keys_are_safe_and_unique(root: Path) -> None:
    assert safe_key("a b/c.d") == "a_b/c_d" and len(safe_key("x" * 300)) <= 80
    assert safe_key("x" * 300) != safe_key("x" * 299)
    write_dataset(root / "a", [Record("a.b", None, ["one"]), Record("a_b", None, ["two"])], source={})
    assert [open_dataset("a").read(index).key for index in (0, 1)] == ["a_b", "a_b_2"]


def test_a_tar_cut_in_half_is_named(root: Path) -> None:
    write_dataset(root / "a", records(), source={}, samples_per_shard=3)
    tar = root / "a/shards/00001.tar"
    dataset = open_dataset("a")
    tar.write_bytes(tar.read_bytes()[: tar.stat().st_size // 2])
    with pytest.raises(VltkError, match=r"00001.tar: .*cut or changed(.|\n)*vltk data shard SOURCE a --replace"):
        open_dataset("a")
    with pytest.raises(VltkError, match="00001.tar: sample 5"):
        dataset.read(5)


def test_other_damage_is_named(root: Path) -> None:
    write_dataset(root / "a", records(), source={})
    index = root / "a/shards/00000.idx"
    whole = index.read_bytes()
    index.write_bytes(whole[:-20])
    with pytest.raises(VltkError, match="00000.idx: .*not the index"):
        open_dataset("a")
    index.unlink()
    with pytest.raises(VltkError, match="00000.idx: the file is gone"):
        open_dataset("a")
    index.write_bytes(whole)
    (root / "a/manifest.json").write_text("{")
    with pytest.raises(VltkError, match="manifest.json: no manifest"):
        open_dataset("a")


def test_missing_says_what_to_type() -> None:
    with pytest.raises(Missing, match="vltk data fetch shapes") as caught:
        open_dataset("shapes/train")
    assert caught.value.exit_code == 3
    with pytest.raises(Missing, match=r"vltk data shard SOURCE mine"):
        open_dataset("mine")
    with pytest.raises(Missing, match="vltk data shard Images.tar flickr8k/dev .*devImages"):
        open_dataset("flickr8k/dev")
