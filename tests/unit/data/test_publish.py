"""Shards written one by one, and published: complete after a kill at any moment, never half."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.unit.data.samples import picture
from vltk.data import publish as module
from vltk.data.dataset import open_dataset
from vltk.data.hashes import sha256
from vltk.data.row_table import COLUMNS
from vltk.data.shard import Record, Rejected, ShardWriter, publish
from vltk.data.statuses import Status
from vltk.errors import VltkError

KNOWN = {
    "url": "http://a/b", "caption": "ünï\t", "width": 48, "height": 40, "original_width": 96, "original_height": 80,
    "bytes": 999, "sha256": "0" * 64, "dhash": -5,
}  # fmt: skip


def write(folder: Path, number: int, count: int = 3) -> dict[str, Any]:
    writer = ShardWriter(folder, number, first_row=10 * number)
    for index in range(count):
        writer.add(Record(f"k{10 * number + index}", picture(index), ["one", "two"], {}, KNOWN))
    writer.add(Rejected(f"lost{number}", Status.http_404, "Not Found", {"url": "http://a/c", "row": 10 * number + 7}))
    return writer.close()


def rows(folder: Path) -> list[dict[str, Any]]:
    return [row for path in sorted(folder.glob("rows/*.parquet")) for row in pq.read_table(path).to_pylist()]


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_shard_is_there_when_it_is_closed(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path, 3, first_row=100)
    writer.add(Record("k", picture(0), ["a"]))
    assert all(name.endswith(".part") for name in names(tmp_path)) and writer.samples == 1 and writer.next_row == 101
    entry = writer.close()
    assert names(tmp_path) == ["rows/00003.parquet", "shards/00003.idx", "shards/00003.tar"]
    tar = (tmp_path / "shards/00003.tar").read_bytes()
    assert entry["file"] == "shards/00003.tar" and entry["bytes"] == len(tar)
    assert entry["sha256"] == sha256(tar) and entry["statuses"] == {"ok": 1}
    assert (entry["samples"], entry["images"], entry["texts"], entry["rows"]) == (1, 1, 1, 1)


def test_an_abandoned_shard_leaves_nothing(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path, 0)
    writer.add(Record("k", picture(0), ["a"]))
    writer.abandon()
    assert names(tmp_path) == []


def test_columns_of_rows(tmp_path: Path) -> None:
    write(tmp_path, 1)
    table = pq.read_table(tmp_path / "rows/00001.parquet")
    assert table.schema.names == list(COLUMNS)
    first, *_, last = table.to_pylist()
    assert first == {"row": 10, "key": "k10", "status": "ok", "detail": "", "shard": 1, "texts": 2} | KNOWN
    assert last["row"] == 17 and last["status"] == "http_404" and last["url"] == "http://a/c" and last["dhash"] is None


def test_odd_text_does_not_stop_a_shard(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path, 0)
    odd = "caf\udce9 \ud83d"
    writer.add(Record(odd, None, [odd, odd], {"label": odd}, {"url": odd, "caption": odd}))
    writer.add(Rejected(odd, "dns", odd))
    writer.close()
    found = pq.read_table(tmp_path / "rows/00000.parquet").to_pylist()
    assert [found[0]["url"], found[1]["detail"]] == ["café \ufffd"] * 2


def test_what_a_row_cannot_say(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path, 0)
    with pytest.raises(ValueError, match="not a valid Status"):
        writer.add(Rejected("k", "lost_somehow"))
    with pytest.raises(ValueError, match="no column colour; have: row, key"):
        writer.add(Record("k", None, ["a"], {}, {"colour": 1}))
    writer.abandon()


def test_many_rows_are_written_in_pieces(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path, 0)
    for index in range(9000):
        writer.add(Rejected(f"k{index}", "dns"))
    assert writer.close()["rows"] == 9000
    file = pq.ParquetFile(tmp_path / "rows/00000.parquet")
    assert file.metadata.num_row_groups == 3 and [row["row"] for row in rows(tmp_path)] == list(range(9000))


def test_publish_adds_up(root: Path) -> None:
    part = root / "a/.fetch"
    entries = [write(part, 0), write(part, 1, 0), write(part, 2, 2)]
    (part / "quarantine").mkdir()
    (part / "quarantine/rows.jsonl").write_text("{}\n")
    (part / "state.json").write_text("{}")
    ShardWriter(part, 3)  # begun and never finished
    manifest = publish(part, root / "a", entries, {"kind": "urls", "card": "0" * 64}, replace=False)
    assert (manifest.samples, manifest.images, manifest.texts, manifest.rows) == (5, 5, 10, 8)
    assert manifest.statuses == {"http_404": 3, "ok": 5} and "img2dataset" in manifest.tools
    assert manifest.source["card"] == "0" * 64 and names(part) == ["state.json"]
    assert "quarantine/rows.jsonl" in names(root / "a") and not list(root.rglob("*.part"))
    dataset = open_dataset("a")
    assert [dataset.read(index).key for index in range(len(dataset))] == ["k0", "k1", "k2", "k20", "k21"]
    assert json.loads((root / "a/manifest.json").read_text())["format"] == 2


def test_publish_refuses(root: Path) -> None:
    with pytest.raises(VltkError, match="no usable sample: 1 http_404"):
        publish(root / "p", root / "a", [write(root / "p", 0, 0)], {})
    with pytest.raises(VltkError, match="no usable sample: the input is empty"):
        publish(root / "p", root / "a", [], {})
    publish(root / "p", root / "a", [write(root / "p", 0)], {})
    with pytest.raises(VltkError, match="exists already"):
        publish(root / "p", root / "a", [write(root / "p", 0, 2)], {})
    entry = write(root / "q", 0, 2)
    tar = root / "q/shards/00000.tar"
    tar.write_bytes(tar.read_bytes()[:-512])
    with pytest.raises(VltkError, match="00000.tar is gone or was changed"):
        publish(root / "q", root / "a", [entry], {}, replace=True)
    assert len(open_dataset("a")) == 3


class Killed(BaseException):
    """Stands for kill -9: nothing catches it."""


@pytest.mark.parametrize("replace", [False, True])
def test_a_killed_publish_is_completed(root: Path, monkeypatch: pytest.MonkeyPatch, replace: bool) -> None:
    """Stop before each change of the disk in turn; the same call again always gives the whole new data set."""
    entries: list[dict[str, Any]] = []
    step, done = 0, False
    while not done:
        part, folder = root / f"{step}/.fetch", root / f"{step}"
        if replace:
            publish(folder / "old", folder, [write(folder / "old", 0, 1)], {"of": "old"})
            (folder / "skip.parquet").write_bytes(b"positions of the old one")
        entries = [write(part, 0), write(part, 1)]
        with monkeypatch.context() as patch:
            left = step

            def counted(act: Any) -> Any:
                def acted(*args: Any, **options: Any) -> Any:
                    nonlocal left
                    if left == 0:
                        raise Killed
                    left -= 1
                    return act(*args, **options)

                return acted

            patch.setattr(Path, "rename", counted(Path.rename))
            patch.setattr(Path, "unlink", counted(Path.unlink))
            patch.setattr(module.shutil, "rmtree", counted(module.shutil.rmtree))
            try:
                publish(part, folder, entries, {"of": "new"}, replace)
                done = True
            except Killed:
                pass
        if (folder / "manifest.json").exists():
            assert len(open_dataset(str(step), skips=False)) in (1, 6)  # the old one whole, or the new one
        assert publish(part, folder, entries, {"of": "new"}, replace).samples == 6
        assert len(open_dataset(str(step))) == 6 and len(rows(folder)) == 8
        assert not (folder / "skip.parquet").exists() and not (folder / ".replaced.json").exists()
        step += 1
    assert step > (6 if replace else 3)


def test_a_manifest_of_format_1_is_read() -> None:
    old: dict[str, Any] = {
        "samples": 1,
        "images": 1,
        "texts": 0,
        "shards": [],
        "statuses": {"ok": 1},
        "source": {},
        "format": 1,
    }
    assert module.Manifest(**old).format == 1 and module.Manifest(**old).rows == 0


def test_statuses() -> None:
    assert len(Status) == 29 and all(status.meaning and "\n" not in status.meaning for status in Status)
    assert all(status.value == status.name for status in Status) and Status("dns") is Status.dns
    assert {status.value for status in Status if status.retry} == {
        "dns", "refused", "timeout", "too_slow", "cut_short", "http_429", "http_5xx", "unknown_failure",
    }  # fmt: skip
