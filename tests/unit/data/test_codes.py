"""Codes beside a data set: fixed crops, reading by raw position, what does not fit, damage, and going on by shard."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.unit.data.samples import OPTIONS, picture
from vltk.data import skip
from vltk.data.code_shards import CodeShards
from vltk.data.codes import FORMAT, Rule, StoredCodes, find, told
from vltk.data.dataset import Dataset, open_dataset
from vltk.data.draft import Draft, fixed_crop
from vltk.data.image import BadSample
from vltk.data.inspect.verify import verify
from vltk.data.pixels import PixelCache
from vltk.data.shard import Record, write_dataset
from vltk.data.shelf import ls, remove
from vltk.data.skip import Skip
from vltk.data.stream import Stream
from vltk.errors import VltkError

Make = Callable[..., Dataset]
RULE = Rule("a" * 64, 300, 16, (0.5, 1.0), (0.75, 4 / 3), True, 3)
FACTS = {"run": "toy/codes", "command": "vltk data codes toy image", "codes": 4}
FIXED = SimpleNamespace(**{**vars(OPTIONS), "crops": 3})


def numbers(dataset: Dataset, rule: Rule = RULE) -> np.ndarray:
    """`(samples, K, 4)`: codes that say of which raw position, crop and patch they are."""
    samples, crops, patches = np.indices((len(dataset), rule.crops, 4))
    found: np.ndarray = samples * 10 + crops + patches * 3
    return found


def written(dataset: Dataset, rule: Rule = RULE, bad: tuple[int, ...] = ()) -> StoredCodes:
    """`dataset` is opened without its skip list."""
    work = CodeShards(dataset, rule)
    with work.locked():
        work.begin()
        start = 0
        for shard, entry in enumerate(work.shards):
            stop = start + entry["samples"]
            work.write(shard, numbers(dataset, rule)[start:stop], [n - start for n in bad if start <= n < stop])
            start = stop
        return work.finish(FACTS)


def crops_of(
    dataset: Dataset, index: int, epochs: range, key: tuple[Any, ...] = (0, 0, "s"), **given: Any
) -> list[Any]:
    return [
        Draft(
            dataset.read(index), dataset, key=key, position=100 * epoch + index, place=(epoch, index),
            step_positions=range(8), decoded=PixelCache().decoded, tokenizer=None, max_length=None,
            **{"image": FIXED, **given},
        )
        for epoch in epochs
    ]  # fmt: skip


def test_each_fixed_crop_comes_once_in_k_epochs(make: Make) -> None:
    dataset = make(count=4)
    for index in range(4):
        first, second = ([d.crop_number for d in crops_of(dataset, index, range(s, s + 3))] for s in (0, 3))
        assert sorted(first) == sorted(second) == [0, 1, 2]
    turns = {tuple(d.crop_number for d in crops_of(dataset, index, range(3))) for index in range(4)}
    assert len(turns) > 1, "each sample has an order of its own"


def test_a_fixed_crop_depends_on_the_key_of_the_sample_and_the_number_alone(make: Make, root: Path) -> None:
    dataset = make(count=3)
    write_dataset(root / "other", [Record("k9", picture(9), []), Record("k1", picture(1), [])], source={})
    drafts = crops_of(dataset, 1, range(6)) + crops_of(dataset, 1, range(6), key=(7, 1, "elsewhere"))
    drafts += crops_of(open_dataset("other"), 1, range(6))  # the same key, at another place of another data set
    boxes = {draft.crop_number: draft.crop for draft in drafts}
    assert len(boxes) == 3 and len(set(boxes.values())) == 3
    assert all(draft.crop == boxes[draft.crop_number] for draft in drafts)
    assert boxes[2] == fixed_crop(40, 48, FIXED, "k1", 2) != fixed_crop(40, 48, FIXED, "k0", 2)


def test_without_fixed_crops_every_epoch_has_its_own(make: Make) -> None:
    dataset = make(count=2)
    plain = crops_of(dataset, 0, range(8), image=OPTIONS)
    assert len({draft.crop for draft in plain}) == 8
    assert plain[1].crop == crops_of(dataset, 0, range(1, 2), image=OPTIONS)[0].crop


def test_they_are_read_by_raw_position_and_crop(make: Make) -> None:
    dataset = make(count=20)
    codes, there = written(dataset), numbers(dataset)
    for position in range(20):
        for crop in range(3):
            found = codes.read(position, crop)
            assert found.dtype == np.int64 and (found == there[position, crop]).all()
    assert sorted(path.name for path in codes.folder.iterdir()) == ["00000.npy", "00001.npy", "00002.npy", "codes.json"]
    assert (np.load(codes.folder / "00001.npy") == there[7:14]).all(), "one array a shard, for anyone to read"
    assert not (dataset.folder / ".codes").exists()


@pytest.mark.parametrize(("count", "dtype"), [(256, "uint8"), (257, "uint16"), (65536, "uint16"), (65537, "uint32")])
def test_the_smallest_type_holds_the_codebook(make: Make, count: int, dtype: str) -> None:
    codes = written(make(count=3), replace(RULE, num_codes=count))
    assert np.load(codes.folder / "00000.npy").dtype == dtype and codes.read(2, 1).tolist() == [21, 24, 27, 30]


def streamed(dataset: Dataset, codes: StoredCodes, steps: int, **given: Any) -> dict[str, list[list[int]]]:
    """By key, the codes that its epochs brought."""
    views = {"image": {"maker": "image"}, "codes": {"maker": "codes", "folders": {dataset.name: codes.folder.name}}}
    stream = Stream([dataset], views, batch_size=len(dataset), image=FIXED, **given)
    found: dict[str, list[list[int]]] = {}
    for step in range(steps):
        (batch,) = stream.micro_batches(step)
        for key, row in zip(batch.keys, batch.tensors["codes"].tolist(), strict=True):
            found.setdefault(key, []).append(row)
    return found


@pytest.mark.parametrize("threads", [1, 3])
def test_a_stream_brings_each_crops_codes_once_in_k_epochs(make: Make, threads: int) -> None:
    dataset = make(count=20)
    there = numbers(dataset)
    found = streamed(dataset, written(dataset), 3, threads=threads)
    assert len(found) == 20
    for key, rows in found.items():
        assert sorted(rows) == there[int(key.rpartition("k")[2])].tolist()


def test_a_skip_list_made_before_or_after_changes_no_codes(make: Make) -> None:
    dataset = make(count=20)
    codes, there = written(dataset), numbers(dataset)
    skip.write(dataset.folder, [Skip(n, f"k{n}", "exact", "pairs/k0", 0) for n in (0, 6, 7, 19)])
    kept = open_dataset("pairs")
    assert len(kept) == 16 and find(kept, RULE)[0] is not None
    found = streamed(kept, codes, 3)
    assert {f"pairs/k{n}" for n in range(20)} - set(found) == {"pairs/k0", "pairs/k6", "pairs/k7", "pairs/k19"}
    assert all(sorted(rows) == there[int(key.rpartition("k")[2])].tolist() for key, rows in found.items())


def test_bad_images_are_replaced_as_without_codes(make: Make) -> None:
    dataset = make(count=12, bad=(3, 8))
    codes = written(dataset, bad=(3, 8))
    with pytest.raises(BadSample, match="could not be decoded when its codes were made"):
        codes.read(8, 0)
    assert codes.facts["bad"] == 2
    listed: list[list[dict[str, Any]]] = [[], []]
    keys = []
    of_codes = {"maker": "codes", "folders": {"pairs": codes.folder.name}}
    for number, view in enumerate([{"maker": "image_for_codes", "size": 16}, of_codes]):
        views = {"image": {"maker": "image"}, view["maker"]: view}
        stream = Stream([dataset], views, batch_size=12, image=FIXED, max_bad_rate=1.0, on_bad=listed[number].append)
        keys.append([stream.micro_batches(step)[0].keys for step in range(3)])
    assert keys[0] == keys[1] and listed[0] == listed[1] and len(listed[0]) == 6


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"tokenizer": "b" * 64}, r"of another tokenizer \(toy/codes\)"),
        ({"size": 32}, "of images of 16 pixels, not 32"),
        ({"crops": 4}, "of 3 crops a sample, not 4"),
        ({"crop": (0.9, 1.0)}, r"of crop \(0.5, 1.0\), not \(0.9, 1.0\)"),
        ({"flip": False}, "of flip True, not False"),
    ],
)
def test_what_does_not_fit_is_named(make: Make, changes: dict[str, Any], says: str) -> None:
    dataset = make(count=8)
    written(dataset)
    found, why = find(dataset, replace(RULE, **changes))
    assert found is None
    with pytest.raises(VltkError, match=says):
        raise VltkError(why)


def test_codes_of_more_crops_serve_fewer_and_those_of_several_tokenizers_lie_together(make: Make) -> None:
    dataset = make(count=8)
    other = replace(RULE, tokenizer="b" * 64, size=32)
    written(dataset), written(dataset, other)
    fewer, mine = find(dataset, replace(RULE, crops=2))[0], find(dataset, other)[0]
    assert fewer is not None and fewer.rule == RULE and fewer.read(3, 1).tolist() == [31, 34, 37, 40]
    assert mine is not None and mine.rule == other
    assert "not finished" not in find(dataset, replace(RULE, size=8))[1] and find(make("new", 3), RULE) == (None, "")


def test_codes_of_other_content_do_not_fit(make: Make, root: Path) -> None:
    codes = written(make(count=8))
    data = codes.folder / "codes.json"
    facts = json.loads(data.read_text())
    facts["shards"][1]["of"] = "0" * 64
    data.write_text(json.dumps(facts))
    assert find(open_dataset("pairs"), RULE) == (None, "of other content of the data set")
    (problem,) = verify("pairs").problems
    assert str(problem) == f"{data}: made of other content of this data set; {StoredCodes(codes.folder).remedy}"


def test_a_damaged_file_is_found_when_it_is_first_read_and_by_verify(make: Make) -> None:
    dataset = make(count=20)
    codes = written(dataset)
    assert verify("pairs").problems == []
    path = codes.folder / "00001.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    fresh = StoredCodes(codes.folder)
    assert fresh.read(0, 0).tolist() == [0, 3, 6, 9], "files that are whole serve"
    with pytest.raises(VltkError) as error:
        fresh.read(9, 0)
    again = "Make these codes again (files that are whole stay): vltk data codes toy image"
    assert str(error.value) == f"{path}: other bytes than codes.json says\n{again}"
    assert [str(problem) for problem in verify("pairs").problems] == [
        f"{path}: other bytes than codes.json says; {again}"
    ]
    path.unlink()
    with pytest.raises(VltkError, match="00001.npy: the file is gone"):
        StoredCodes(codes.folder).read(9, 0)


def test_a_damaged_list_says_what_to_remove(make: Make) -> None:
    codes = written(make(count=3))
    (codes.folder / "codes.json").write_text("{")
    with pytest.raises(VltkError, match=f"no list of codes .*\nRemove them .rm -r {codes.folder}.*vltk data codes"):
        StoredCodes(codes.folder)
    (problem,) = verify("pairs").problems
    assert "no list of codes" in problem.what and problem.remedy.startswith("Remove them (rm -r")
    (row,) = [row for row in ls() if row.name == "pairs"]
    assert row.codes == "1 damaged"


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda facts: facts.pop("run"), "KeyError: 'run'"),
        (lambda facts: facts.pop("format"), "KeyError: 'format'"),
        (lambda facts: facts["rule"].pop("size"), "KeyError: 'size'"),
        (lambda facts: facts["rule"].update(crops="3"), "TypeError: crops is '3'"),
        (lambda facts: facts["shards"][0].pop("of"), "KeyError: 'of'"),
        (lambda facts: facts.update(shards=[7]), "TypeError"),
    ],
)
def test_damaged_lists_are_passed_over_with_a_warning(
    make: Make, damage: Callable[[Any], Any], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """They neither end a training nor hide other codes."""
    dataset, other = make(count=3), replace(RULE, size=32)
    listed, whole = written(dataset).folder / "codes.json", written(dataset, other)
    facts = json.loads(listed.read_text())
    damage(facts)
    listed.write_text(json.dumps(facts))
    assert find(dataset, RULE)[0] is None
    said = capsys.readouterr().err
    assert f"warning: {listed}: no list of codes ({says}" in said and f"rm -r {listed.parent}" in said
    found, _ = find(dataset, other)
    assert found is not None and found.folder == whole.folder
    assert told(dataset.folder) == "3 crops of 32 px, 1 damaged"


def test_a_list_of_another_tokenizers_codes_serves_no_repair(make: Make) -> None:
    """As where a folder of codes was copied over another: its files are whole, and not those of this rule."""
    dataset, other = make(count=3), replace(RULE, tokenizer="b" * 64)
    mine, theirs = written(dataset).folder, written(dataset, other).folder
    for path in theirs.iterdir():
        (mine / path.name).write_bytes(path.read_bytes())
    found, _ = find(dataset, other)
    assert found is not None and found.rule == other
    assert find(dataset, RULE) == (None, "; ".join(2 * ["of another tokenizer (toy/codes)"]))
    work = CodeShards(dataset, RULE)
    with work.locked():
        work.begin()
        assert work.lacks(0)


def test_what_was_begun_goes_on_by_shard(make: Make) -> None:
    dataset = make(count=20)
    begun = CodeShards(dataset, RULE)
    with begun.locked():
        begun.begin()
        begun.write(1, numbers(dataset)[7:14], [])
        begun.write(2, numbers(dataset)[14:], [])
    (begun.work / "00002.npy").write_bytes(b"cut")
    (begun.work / "00000.npy.part").write_bytes(b"half")
    assert find(dataset, RULE) == (None, "not finished")
    again = CodeShards(dataset, RULE)
    with again.locked():
        again.begin()
        assert [again.lacks(shard) for shard in range(3)] == [True, False, True]
        with pytest.raises(VltkError, match="the codes of 1 of 3 shards are not there: all processes"):
            again.finish(FACTS)
        for shard, rows in ((0, slice(7)), (2, slice(14, None))):
            again.write(shard, numbers(dataset)[rows], [])
        codes = again.finish(FACTS)
    assert list(codes.problems()) == [] and codes.read(19, 2).tolist() == numbers(dataset)[19, 2].tolist()


@pytest.mark.parametrize("killed", ["moved", "listed"])
def test_repair_keeps_the_files_that_are_whole(make: Make, killed: str) -> None:
    dataset = make(count=20)
    home = written(dataset).folder
    kept = (home / "00000.npy").stat().st_ino
    (home / "00001.npy").write_bytes(b"x")
    work = CodeShards(dataset, RULE)
    with work.locked():
        if killed == "moved":  # a repair that was killed behind its first move
            home.rename(work.work)
        work.begin()
        assert [work.lacks(shard) for shard in range(3)] == [False, True, False]
        work.write(1, numbers(dataset)[7:14], [])
        codes = work.finish(FACTS)
    assert (home / "00000.npy").stat().st_ino == kept and list(codes.problems()) == []


def test_one_writer_at_a_time(make: Make) -> None:
    dataset = make(count=3)
    first, second = CodeShards(dataset, RULE).locked(), CodeShards(dataset, replace(RULE, size=8)).locked()
    with first, pytest.raises(VltkError, match="another process is writing"), second:
        raise AssertionError("two writers")


def test_rm_ls_and_replace_know_them(make: Make, root: Path) -> None:
    dataset = make(count=20)
    digest = dataset.digest
    written(dataset), written(dataset, replace(RULE, size=32, crops=1))
    assert open_dataset("pairs").digest == digest
    assert told(dataset.folder) in ("3 crops of 16 px, 1 crop of 32 px", "1 crop of 32 px, 3 crops of 16 px")
    assert [row.name for row in ls() if row.on_disk] == ["pairs"], "no data set of its own"
    write_dataset(root / "pairs", [Record("new", picture(50), ["a"])], source={}, replace=True)
    assert not (root / "pairs" / "codes").exists()
    work = CodeShards(open_dataset("pairs"), RULE)
    with work.locked():
        work.begin()
        with pytest.raises(VltkError, match="another process is writing"):
            remove("pairs")
    assert work.work.exists() and remove("pairs") == [] and not (root / "pairs").exists()


def test_the_list_says_what_made_them(make: Make) -> None:
    facts = json.loads((written(make(count=20), bad=(4,)).folder / "codes.json").read_text())
    assert facts["format"] == FORMAT and (facts["samples"], facts["bad"], facts["codes"]) == (20, 1, 4)
    assert facts["rule"] == json.loads(json.dumps(asdict(RULE)))
    assert [entry["bad"] for entry in facts["shards"]] == [[4], [], []]
