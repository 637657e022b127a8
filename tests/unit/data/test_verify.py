"""`vltk data verify`: a whole data set is whole; each kind of damage gives one line with the file and what to do."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.unit.data.samples import WORDS, caption, picture
from vltk.data import skip
from vltk.data.dataset import Dataset
from vltk.data.foreign import index as index_in_place
from vltk.data.inspect.verify import chosen, verify
from vltk.data.publish import publish
from vltk.data.shard import INDEX, Record, Rejected, ShardWriter, write_dataset
from vltk.data.skip import Skip
from vltk.data.text import SPECIAL
from vltk.data.tokenise import tokenise
from vltk.errors import Missing, VltkError


@pytest.fixture
def folder(root: Path) -> Path:
    """Three shards of three pairs with labels, and rejected rows in between."""
    records: list[Record | Rejected] = []
    for index in range(9):
        records.append(
            Record(f"k{index}", picture(index, 16, 20), [caption(index), "other"][: index % 3], {"n": index})
        )
        records.append(Rejected(f"lost{index}", "http_404", "not there"))
    write_dataset(root / "a", records, source={}, samples_per_shard=3)
    return root / "a"


def lines(name: str = "a", decode: float = 0.0) -> list[str]:
    return [str(problem) for problem in verify(name, decode).problems]


def change_manifest(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def test_a_whole_data_set_is_whole(folder: Path) -> None:
    found = verify("a", 100.0)
    assert (found.problems, found.shards, found.samples, found.decoded) == ([], 3, 9, 9)


def test_what_others_wrote_with_several_captions_and_texts_alone_is_whole(
    make: Callable[..., Dataset], root: Path
) -> None:
    make("pairs", texts=3)
    write_dataset(root / "text", [Record(f"t{n}", None, [f"text {n}"]) for n in range(4)], source={})
    write_dataset(root / "long", [Record("x" * 200, picture(1), ["a"] * 9, {"k": "ü" * 5000})], source={})
    assert lines("pairs") == lines("text") == lines("long", 100.0) == []


def test_any_flipped_byte_of_a_tar_or_an_index_is_found(folder: Path) -> None:
    flips = 0
    for path in (folder / "shards/00001.tar", folder / "shards/00001.idx"):
        whole = path.read_bytes()
        for place in range(0, len(whole), max(len(whole) // 60, 1)):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            (line,) = lines()
            assert line.startswith(f"{path}: its sha256 is not that of the manifest"), place
            assert line.endswith("make the data set again: vltk data shard SOURCE a --replace")
            flips += 1
        path.write_bytes(whole)
    assert flips > 100 and lines() == []


@pytest.mark.parametrize("name", ["shards/00001.tar", "shards/00002.idx", "rows/00000.parquet"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    found = lines()
    assert found[0].startswith(f"{folder / name}: the file is gone; make the data set again")
    assert len(found) == (2 if name.startswith("rows") else 1), found  # its rows are then without a status


def test_a_tar_that_was_cut_is_named(folder: Path) -> None:
    tar = folder / "shards/00000.tar"
    tar.write_bytes(tar.read_bytes()[:-700])
    (line,) = lines()
    assert "bytes in the manifest" not in line and "in the manifest: it was cut or changed" in line and str(tar) in line
    tar.write_bytes(b"")
    assert "0 bytes" in lines()[0]


def refit(folder: Path, number: int, index: np.ndarray) -> None:
    """Writes another index, and a manifest that agrees with it."""
    (folder / f"shards/{number:05d}.idx").write_bytes(index.tobytes())
    digest = hashlib.sha256(index.tobytes()).hexdigest()
    change_manifest(folder, lambda manifest: manifest["shards"][number].update(index_sha256=digest))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda index: index[:-1], "samples: 2 in the index, 3 in the manifest"),
        (lambda index: index[[1, 0, 2]], "sample 0 does not begin where the one before ends"),
        (lambda index: bigger(index, "image", 1), "no image of"),
        (lambda index: bigger(index, "image", 512), "sample 1 does not begin"),
        (lambda index: bigger(index, "meta", 512, 2), "the samples end at byte"),
        (lambda index: swapped(index), "where the index has"),
    ],
)
def test_an_index_that_does_not_fit_its_tar_is_named(
    folder: Path, change: Callable[[np.ndarray], np.ndarray], says: str
) -> None:
    path = folder / "shards/00001.idx"
    refit(folder, 1, change(np.frombuffer(path.read_bytes(), INDEX).copy()))
    found = lines()
    assert found[0].startswith(f"{path}: ") and says in found[0], found


def bigger(index: np.ndarray, name: str, by: int, row: int = 0) -> np.ndarray:
    index[name][row] += by
    return index


def swapped(index: np.ndarray) -> np.ndarray:
    """The text of sample 1 is said to be its JSON, and the other way round."""
    index["text"][1], index["meta"][1] = index["meta"][1], index["text"][1]
    return index


def test_a_tar_whose_members_are_others_is_named(folder: Path) -> None:
    """Digests agree, but a key was written over: the writer was wrong, not the disk."""
    tar = folder / "shards/00000.tar"
    data = bytearray(tar.read_bytes())
    data[0:1] = b"q"
    tar.write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    change_manifest(folder, lambda manifest: manifest["shards"][0].update(sha256=digest))
    (line,) = lines()
    assert "00000.idx: no image of" in line  # the header's own sum does not fit


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda m: m.update(samples=8), "samples: 8, those of the shards add up to 9"),
        (lambda m: m.update(images=8), "images: 8, those of the shards add up to 9"),
        (lambda m: m["statuses"].update(http_404=8), "statuses: "),
        (lambda m: m["shards"][1].update(samples=2), "samples: 3 in the index, 2 in the manifest"),
        (lambda m: m["shards"][1].update(rows=5), "rows: 6 here, 5 in the manifest"),
        (lambda m: m["shards"].pop(), "not in the manifest; delete it"),
        (lambda m: m.pop("shards"), "it is no manifest of a data set"),
        (lambda m: m.pop("statuses"), "it is no manifest of a data set"),
        (lambda m: m["shards"][0].pop("sha256"), "it is no manifest of a data set"),
    ],
)
def test_a_count_that_does_not_fit_is_named(folder: Path, change: Callable[[dict[str, Any]], None], says: str) -> None:
    change_manifest(folder, change)
    found = lines()
    assert any(says in line for line in found), found


def test_a_manifest_that_is_no_json_is_named(folder: Path) -> None:
    (folder / "manifest.json").write_text("{")
    (line,) = lines()
    assert line.startswith(f"{folder / 'manifest.json'}: it is no manifest of a data set; make the data set again")


@pytest.mark.parametrize(
    ("column", "row", "value", "says"),
    [
        ("key", 0, "other", "its keys are not those of the tar"),
        ("status", 0, "http_404", "samples: 2 here, 3 in the manifest"),
        ("row", 1, 0, "1 input rows stand here or in an earlier file already"),
        ("row", 1, 10**6, "1 row numbers beyond the 18 rows"),
        ("shard", 0, 7, "1 rows of stored samples name another shard than 1"),
        ("texts", 0, 7, "texts: "),
    ],
)
def test_rows_that_do_not_fit_are_named(folder: Path, column: str, row: int, value: object, says: str) -> None:
    path = folder / "rows/00001.parquet"
    table = pq.read_table(path)
    rows = table.to_pylist()
    rows[row][column] = value
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    change_manifest(folder, lambda manifest: manifest["shards"][1].update(rows_sha256=digest))
    found = lines()
    assert any(line.startswith(str(path)) and says in line for line in found), found


def test_a_flipped_byte_of_rows_is_found(folder: Path) -> None:
    path = folder / "rows/00001.parquet"
    whole = path.read_bytes()
    for place in range(0, len(whole), len(whole) // 20):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        assert lines()[0].startswith(f"{path}: its sha256 is not that of the manifest")


def test_rows_that_cannot_be_read_are_named(folder: Path) -> None:
    """Of a manifest that does not name their digest, as those of format 1."""
    path = folder / "rows/00001.parquet"
    path.write_bytes(path.read_bytes()[:-30])
    change_manifest(folder, lambda manifest: manifest["shards"][1].pop("rows_sha256"))
    found = lines()
    assert found[0].startswith(f"{path}: cannot be read") and "input rows have no status" in found[1]


def test_a_key_that_stands_twice_is_named(root: Path) -> None:
    (root / "twice").mkdir(parents=True)
    entries = []
    for number in range(2):
        writer = ShardWriter(root / "part", number, first_row=number)
        writer.add(Record("same", picture(1), ["a"]))
        entries.append(writer.close())
    publish(root / "part", root / "twice", entries, {})
    assert any("1 keys stand twice" in line for line in lines("twice"))


def test_images_that_do_not_decode_are_found_by_their_share(make: Callable[..., Dataset]) -> None:
    make("bad", count=40, bad=(3, 30))
    found = verify("bad", 100.0)
    assert found.decoded == 40 and ["(k3)" in str(one) for one in found.problems] == [True, False]
    half = verify("bad", 50.0, seed=1)
    assert 8 < half.decoded < 32 and verify("bad", 50.0, seed=1) == half
    assert verify("bad").decoded == 0 and lines("bad") == []


def test_a_file_that_belongs_to_nothing_is_named(folder: Path) -> None:
    (folder / "shards/00007.tar").write_bytes(b"left")
    (line,) = lines()
    assert line == f"{folder / 'shards/00007.tar'}: not in the manifest; delete it: rm {folder / 'shards/00007.tar'}"


def test_a_skip_list_that_does_not_fit_is_named(folder: Path, make: Callable[..., Dataset]) -> None:
    skip.write(folder, [Skip(3, "k3", "exact", "a/k0", 0)])
    assert lines() == []
    skip.write(folder, [Skip(9, "k9", "exact", "a/k0", 0)])
    assert "skip.parquet: positions beyond the data set; make it again" in lines()[0]
    other = make("other")
    skip.write(other.folder, [Skip(3, "k3", "exact", "a/k0", 0)])
    (folder / skip.FILE).write_bytes((other.folder / skip.FILE).read_bytes())
    (line,) = lines()
    assert "skip.parquet: made for other content of this data set; make it again with vltk data dedup" in line


def test_what_is_not_there_or_newer_is_said(folder: Path) -> None:
    with pytest.raises(Missing, match="vltk data fetch shapes"):
        chosen(["a", "shapes/train"])
    change_manifest(folder, lambda manifest: manifest.update(format=99))
    with pytest.raises(VltkError, match="written by a newer vltk"):
        verify("a")


def test_format_1_is_still_looked_at(folder: Path) -> None:
    def older(manifest: dict[str, Any]) -> None:
        manifest["format"] = 1
        for entry in manifest["shards"]:
            for name in ("images", "texts", "rows", "statuses"):
                entry.pop(name)

    change_manifest(folder, older)
    assert lines() == []


def test_names_are_chosen(make: Callable[..., Dataset]) -> None:
    with pytest.raises(VltkError, match="no data set to look at"):
        chosen([], every=True)
    for name in ("b/train", "b/dev", "ba", "c"):
        make(name, count=2)
    assert chosen(["c", "b"]) == ["c", "b/dev", "b/train"] and chosen([], every=True) == ["b/dev", "b/train", "ba", "c"]


@pytest.fixture
def foreign(tmp_path: Path, root: Path) -> Path:
    """Two tars of another tool, their members in any order, indexed where they lie."""
    for number in range(2):
        with tarfile.open(tmp_path / f"{number}.tar", "w") as tar:
            for sample in range(3):
                for ending, body in (("txt", b"a dog"), ("jpg", picture(sample)), ("json", b'{"a": 1}')):
                    info = tarfile.TarInfo(f"{number}{sample}.{ending}")
                    info.size = len(body)
                    tar.addfile(info, io.BytesIO(body))
    index_in_place([tmp_path / "0.tar", tmp_path / "1.tar"], "theirs")
    return tmp_path


def test_tars_of_others_are_looked_at_where_they_lie(foreign: Path) -> None:
    found = verify("theirs", 100.0)
    assert (found.problems, found.samples, found.decoded) == ([], 6, 6)
    tar = foreign / "1.tar"
    whole = tar.read_bytes()
    tar.write_bytes(whole[:700] + b"x" + whole[701:])
    (line,) = lines("theirs")
    assert line.startswith(f"{tar}: its sha256 is not that of the manifest")
    tar.unlink()
    assert lines("theirs")[0].startswith(f"{tar}: the file is gone")


def test_an_index_of_others_that_does_not_fit_is_named(foreign: Path, root: Path) -> None:
    path = root / "theirs/shards/00000.idx"
    data = bytearray(path.read_bytes())
    data[16] ^= 64  # where the first image lies
    path.write_bytes(data)
    change_manifest(root / "theirs", lambda m: m["shards"][0].update(index_sha256=hashlib.sha256(data).hexdigest()))
    (line,) = lines("theirs")
    assert line.startswith(f"{path}: no image of") and "where the index has one" in line


def test_tokens_are_looked_at(root: Path, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("a dog runs on the grass . the cat sits under the big old ball .\n" * 20)
    (tmp_path / "vocab.txt").write_text("\n".join([*SPECIAL, *WORDS, "."]) + "\n")
    tokenise(str(tmp_path / "text.txt"), "words", str(tmp_path / "vocab.txt"), max_length=16)
    assert lines("words") == []
    path = root / "words/tokens/00000.bin"
    data = path.read_bytes()
    path.write_bytes(data[:9] + bytes([data[9] ^ 1]) + data[10:])
    assert lines("words")[0].startswith(f"{path}: other bytes than the manifest says; make the data set again")


def test_a_key_that_comes_again_in_tars_of_others_is_whole(root: Path, tmp_path: Path) -> None:
    for number in range(2):
        with tarfile.open(tmp_path / f"{number}.tar", "w") as tar:
            for ending, body in (("jpg", picture(number)), ("txt", b"a dog")):
                info = tarfile.TarInfo(f"same.{ending}")
                info.size = len(body)
                tar.addfile(info, io.BytesIO(body))
    index_in_place([tmp_path / "0.tar", tmp_path / "1.tar"], "foreign")
    assert lines("foreign") == []


def test_a_flipped_byte_of_the_rows_of_tokens_is_found(root: Path, tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("\n".join([*SPECIAL, *WORDS]) + "\n")
    (tmp_path / "a.txt").write_text(caption(1, 40))
    tokenise(str(tmp_path / "a.txt"), "t", str(tmp_path / "vocab.txt"), least=1)
    path = root / "t/rows/00000.parquet"
    whole = path.read_bytes()
    assert lines("t") == []
    path.write_bytes(whole[:40] + bytes([whole[40] ^ 1]) + whole[41:])
    assert lines("t")[0].startswith(f"{path}: other bytes than the manifest says")
    path.unlink()
    assert lines("t")[0].startswith(f"{path}: the file is gone")
