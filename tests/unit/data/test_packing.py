"""Files packed on several threads: rows in order, originals of captions kept, limits held."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.unit.data.samples import picture
from vltk.data.ahead import ahead, told
from vltk.data.build import shard
from vltk.data.dataset import open_dataset
from vltk.data.hashes import sha256
from vltk.data.prepare import Limits
from vltk.data.record import Record, Rejected


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for index in range(6):
        (folder / f"p{index}.jpg").write_bytes(picture(index, 40 + 10 * index, 200))
    return folder


@pytest.mark.parametrize("threads", [1, 3])
def test_rows_come_in_order(threads: int) -> None:
    keys: list[str] = []
    begun: list[int] = []

    def work(name: str) -> Record | Rejected:
        begun.append(int(name) - len(keys))
        time.sleep(0.002 if int(name) % 3 == 0 else 0)
        return Record(name, None, [name])

    for row in ahead(work, [str(number) for number in range(40)], 40, threads=threads):
        keys.append(row.key)
    assert keys == [str(number) for number in range(40)] and max(begun) < 2 * threads


def test_the_first_failure_is_raised() -> None:
    def work(name: str) -> Record | Rejected:
        return Record(name, None, [{"a": "fine"}[name]])

    with pytest.raises(KeyError, match="b"):
        list(ahead(work, ["a", "b", "c"], 3, threads=2))


def test_the_bar_names_the_reasons() -> None:
    seen = Counter(ok=950, undecodable=30, too_small=20, too_large=7, no_caption=3)
    assert told(seen) == "950 of 1,010 rows stored (undecodable 30, too_small 20, too_large 7, ...)"
    assert told(Counter(ok=2)) == "2 of 2 rows stored"


def test_limits_and_what_is_known_of_each_image(root: Path, photos: Path) -> None:
    limits = Limits(short_side=32, min_side=60, max_aspect=2.4, quality=80)
    manifest = shard(photos, "some", limits=limits)
    assert manifest.statuses == {"ok": 1, "too_long_side": 3, "too_small": 2}
    assert manifest.source["min_side"] == 60 and manifest.source["quality"] == 80
    rows = pq.read_table(root / "some/rows/00000.parquet").to_pylist()
    assert [row["status"] for row in rows] == ["too_small"] * 2 + ["too_long_side"] * 3 + ["ok"]
    assert [row["sha256"] for row in rows] == [sha256(picture(index, 40 + 10 * index, 200)) for index in range(6)]
    last = rows[5]
    assert (last["width"], last["height"], last["original_width"], last["original_height"]) == (71, 32, 200, 90)
    assert last["bytes"] == len(picture(5, 90, 200)) and last["dhash"] is not None and last["caption"] is None
    assert rows[0]["original_height"] == 40 and rows[0]["width"] is None


def test_originals_of_captions_are_kept(tmp_path: Path, root: Path, photos: Path) -> None:
    captions = tmp_path / "captions.jsonl"
    said = {"p0.jpg": [" a  dog", "two"], "p1.jpg": ["cafe\u0301"], "p2.jpg": ["plain"], "p3.jpg": ["\ud83d half"]}
    captions.write_text("".join(json.dumps({"image": name, "captions": texts}) + "\n" for name, texts in said.items()))
    shard(photos, "said", captions)
    dataset = open_dataset("said")
    assert [dataset.read(index).texts for index in range(4)] == [["a dog", "two"], ["café"], ["plain"], ["\ufffd half"]]
    rows = pq.read_table(root / "said/rows/00000.parquet").to_pylist()
    assert [row["caption"] for row in rows] == ['[" a  dog", "two"]', "cafe\u0301", None, "\ufffd half"]


def test_equal_input_gives_equal_bytes(root: Path, photos: Path) -> None:
    for name in ("a", "b"):
        shard(photos, name, limits=Limits(short_side=20))
    for path in sorted((root / "a").rglob("*.*")):
        assert path.read_bytes() == (root / "b" / path.relative_to(root / "a")).read_bytes(), path
