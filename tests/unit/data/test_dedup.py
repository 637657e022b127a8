"""`vltk data dedup`: near neighbours as by brute force; skip lists within, across and against data sets."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.unit.data.samples import picture
from vltk.data import skip
from vltk.data.dataset import Dataset, open_dataset
from vltk.data.hashes import dhash
from vltk.data.image import decode
from vltk.data.inspect import near, second_look
from vltk.data.inspect.dedup import dedup
from vltk.data.inspect.near import repeats
from vltk.data.shard import Record, Rejected, write_dataset
from vltk.errors import Missing, VltkError


def clustered(count: int, seed: int = 0) -> np.ndarray:
    """Hashes around a third as many centres, up to six bits away."""
    rng = np.random.default_rng(seed)
    hashes = rng.integers(0, 2**64, max(count // 3, 1), dtype=np.uint64)[rng.integers(0, max(count // 3, 1), count)]
    for place in range(count):
        for bit in rng.integers(0, 64, rng.integers(0, 7)):
            hashes[place] ^= np.uint64(1) << np.uint64(bit)
    return hashes


def thinned(hashes: np.ndarray, distance: int, fixed: int) -> list[bool]:
    """By comparing all: which are kept."""
    kept: list[int] = []
    for place, value in enumerate(hashes.tolist()):
        if place < fixed or all((value ^ int(hashes[one])).bit_count() > distance for one in kept):
            kept.append(place)
    return [place in set(kept) for place in range(len(hashes))]


@pytest.mark.parametrize("distance", range(9))
@pytest.mark.parametrize("count", [0, 1, 2, 40, 300])
def test_near_hashes_are_those_of_brute_force(count: int, distance: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near, "BLOCK", 64)
    monkeypatch.setattr(near, "CHUNK", 500)
    hashes = clustered(count)
    for fixed in (0, count // 4):
        of = repeats(hashes, distance, fixed)
        assert (of < 0).tolist() == thinned(hashes, distance, fixed)
        skipped = np.flatnonzero(of >= 0)
        assert (of[of[skipped]] < 0).all() and (of[skipped] < skipped).all()
        assert (np.bitwise_count(hashes[skipped] ^ hashes[of[skipped]]) <= distance).all()


def test_a_crowd_of_like_hashes_needs_little_memory_and_time() -> None:
    """20,000 pictures that are nearly blank: all pairs would be 200 million."""
    rng = np.random.default_rng(0)
    bits = np.uint64(1) << rng.integers(0, 64, (20_000, 4)).astype(np.uint64)
    of = repeats(np.bitwise_xor.reduce(bits, axis=1), 8)
    assert (of >= 0).sum() == 20_000 - 1


def test_what_is_not_the_same_is_kept_and_compared_with_later_ones() -> None:
    hashes = np.array([1, 1, 3, 1, 3], np.uint64)
    kinds = np.array([0, 1, 0, 1, 2])
    of = repeats(hashes, 2, 0, lambda later, earlier: kinds[later] == kinds[earlier])
    assert of.tolist() == [-1, -1, 0, 1, -1]


def painted(colour: tuple[int, int, int]) -> bytes:
    """A dark square on a plain ground: equal hashes for every colour."""
    pixels = np.full((90, 90, 3), colour, np.uint8)
    pixels[30:60, 30:60] = 0
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("limit", [2, 1000])
def test_pictures_of_equal_hash_and_other_colours_are_kept(
    root: Path, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(second_look, "KEPT", limit)
    colours = [(250, 30, 30), (30, 250, 30), (30, 30, 250), (248, 33, 30), (33, 30, 250), (250, 250, 30)]
    pictures = [painted(colour) for colour in colours]
    assert len({dhash(decode(data)) for data in pictures}) == 1
    made(root, "a", pictures, hashed=True)
    assert dedup(["a"])[0].reasons == {"near": 2}
    assert listed("a") == [(3, "a3", "near", "a/a0"), (4, "a4", "near", "a/a2")]


def made(root: Path, name: str, pictures: list[bytes], hashed: bool = False) -> Dataset:
    """A data set of these pictures; with `hashed`, rows hold the hashes as packing writes them."""

    def records() -> Iterator[Record | Rejected]:
        for index, data in enumerate(pictures):
            facts = {"sha256": hashlib.sha256(data).hexdigest(), "dhash": dhash(decode(data))} if hashed else {}
            yield Rejected(f"lost{index}", "http_404")
            yield Record(f"{name}{index}", data, ["text"], row=facts)

    write_dataset(root / name, records(), source={}, samples_per_shard=3)
    return open_dataset(name)


def again(data: bytes, quality: int = 40) -> bytes:
    """The same picture, encoded and sized otherwise."""
    file = io.BytesIO()
    image = Image.open(io.BytesIO(data))
    image.resize((image.width + 7, image.height + 5)).save(file, "JPEG", quality=quality)
    return file.getvalue()


def listed(name: str) -> list[tuple[object, ...]]:
    rows = skip.read_table(open_dataset(name, skips=False).folder).to_pylist()
    return [(row["index"], row["key"], row["reason"], row["of"]) for row in rows]


@pytest.mark.parametrize("hashed", [True, False])
def test_repeats_within_a_data_set(root: Path, hashed: bool) -> None:
    pictures = [picture(n, 120, 160) for n in range(6)]
    dataset = made(root, "a", [*pictures, pictures[2], again(pictures[4]), pictures[2]], hashed)
    (found,) = dedup(["a"], distance=4)
    assert (found.samples, found.skipped, found.reasons, found.of) == (9, 3, {"exact": 2, "near": 1}, {"a": 3})
    assert listed("a") == [(6, "a6", "exact", "a/a2"), (7, "a7", "near", "a/a4"), (8, "a8", "exact", "a/a2")]
    thinner = open_dataset("a")
    assert len(thinner) == 6 and [thinner.read(n).key for n in range(6)] == [f"a{n}" for n in range(6)]
    assert thinner.digest != dataset.digest and len(open_dataset("a", skips=False)) == 9
    before = (root / "a" / skip.FILE).read_bytes()
    assert dedup(["a"], distance=4) == [found] and (root / "a" / skip.FILE).read_bytes() == before
    assert dedup(["a"], distance=None)[0].reasons == {"exact": 2}
    assert skip.undo(root / "a") and open_dataset("a").digest == dataset.digest


def test_repeats_across_data_sets_and_of_evaluation_sets(root: Path) -> None:
    pictures = [picture(n, 120, 160) for n in range(8)]
    made(root, "a", pictures[:4], hashed=True)
    made(root, "b", [pictures[3], again(pictures[0]), pictures[5], pictures[7]])
    made(root, "test", [again(pictures[5], 60), pictures[1], pictures[1]], hashed=True)
    a, b = dedup(["a", "b"], ["test"], distance=4)
    assert (a.of, b.of) == ({"test": 1}, {"a": 2, "test": 1})
    assert listed("a") == [(1, "a1", "exact", "test/test1")]
    assert [row[1:] for row in listed("b")] == [
        ("b0", "exact", "a/a3"),
        ("b1", "near", "a/a0"),
        ("b2", "near", "test/test0"),
    ]
    assert not (root / "test" / skip.FILE).exists()
    assert dedup(["test"])[0].skipped == 1  # of its own


def test_what_is_skipped_already_is_compared_all_the_same(root: Path) -> None:
    pictures = [picture(n, 120, 160) for n in range(3)]
    made(root, "a", pictures)
    made(root, "b", pictures[:1])
    assert dedup(["a"], ["b"])[0].skipped == 1
    assert dedup(["a"])[0].skipped == 0 and not (root / "a" / skip.FILE).exists()


def test_texts_and_broken_images_are_compared_by_their_bytes(root: Path, make: Callable[..., Dataset]) -> None:
    texts = ["one text", "another", "one text"]
    write_dataset(root / "texts", [Record(f"t{n}", None, [text]) for n, text in enumerate(texts)], source={})
    assert dedup(["texts"])[0].reasons == {"exact": 1} and listed("texts")[0] == (2, "t2", "exact", "texts/t0")
    make("bad", count=9, bad=(2, 5))
    assert dedup(["bad"])[0].reasons == {"exact": 1} and listed("bad")[0] == (5, "k5", "exact", "bad/k2")


def test_wrong_input_is_said(make: Callable[..., Dataset]) -> None:
    make("a")
    with pytest.raises(VltkError, match="a: given twice"):
        dedup(["a"], ["a"])
    with pytest.raises(VltkError, match="--distance 9: 0 to 8"):
        dedup(["a"], distance=9)
    with pytest.raises(Missing, match="vltk data fetch shapes"):
        dedup(["a"], ["shapes/test"])
    with pytest.raises(VltkError, match="a URL can stand in --against"):
        dedup(["s3://bucket/set"])


def test_rows_that_do_not_fit_their_shard_are_named(root: Path) -> None:
    made(root, "a", [picture(n) for n in range(4)])
    rows = root / "a/rows"
    (rows / "00000.parquet").write_bytes((rows / "00001.parquet").read_bytes())
    with pytest.raises(VltkError, match=r"00000.parquet: does not fit its shard: vltk data verify a"):
        dedup(["a"])
