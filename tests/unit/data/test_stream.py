"""Streams: pure functions of (seed, attempt, step), whatever the threads, ranks, micro-batches and caches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from tests.unit.data.samples import OPTIONS
from vltk.data.batch import Batch, Filling
from vltk.data.dataset import Dataset
from vltk.data.order import locate, permuted
from vltk.data.pixels import PixelCache
from vltk.data.shard import Record, write_dataset
from vltk.data.stream import Stream
from vltk.data.text import Tokenizer
from vltk.errors import RecipeError, VltkError

Make = Callable[..., Dataset]
VIEWS: dict[str, dict[str, Any]] = {
    "image": {"maker": "image"},
    "codes": {"maker": "image_for_codes", "size": 16},
    "mask": {"maker": "block_mask", "grid": (4, 4), "max_masked": 6, "min_block": 2},
    "text": {"maker": "text"},
    "masked_text": {"maker": "masked_text", "whole_word": True},
    "pairs": {"maker": "unmatched", "probability": 0.3},
}


def stream(datasets: list[Dataset], tokenizer: Tokenizer | None, **options: Any) -> Stream:
    views = options.pop("views", VIEWS)
    return Stream(datasets, views, **{"batch_size": 12, "image": OPTIONS, "tokenizer": tokenizer, **options})


def rows(batches: list[Batch]) -> list[dict[str, Any]]:
    """Each sample by itself, texts cut to their length: what must not depend on the split."""
    out = []
    for batch in batches:
        for row in range(batch.size):
            one = {name: tensor[row] for name, tensor in batch.tensors.items()}
            length = int(one["text_length"])
            for name in ("text", "text_masked", "text_masked_at"):
                assert not one[name][length:].any()
                one[name] = one[name][:length]
            out.append({"key": batch.keys[row], **{name: value.tolist() for name, value in one.items()}})
    return out


def equal(one: list[Batch], other: list[Batch]) -> bool:
    return [batch.keys for batch in one] == [batch.keys for batch in other] and all(
        a.tensors.keys() == b.tensors.keys()
        and all(torch.equal(a.tensors[name], b.tensors[name]) for name in a.tensors)
        for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("count", [1, 2, 7, 300])
def test_epochs_that_are_permuted_together_are_permuted_as_each_by_itself(count: int) -> None:
    positions = np.random.default_rng(0).permutation(1000)
    epochs, indices = locate(positions, count, (0, "s"))
    assert (epochs == positions // count).all()
    for epoch in np.unique(epochs).tolist():
        here = epochs == epoch
        assert (indices[here] == permuted(positions[here] % count, count, (0, "s", epoch))).all()
    assert [len(found) for found in locate(positions[:0], count, (0, "s"))] == [0, 0]


def test_batches_have_their_shapes(make: Make, tokenizer: Tokenizer) -> None:
    (batch,) = stream([make()], tokenizer).micro_batches(0)
    shapes = {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in batch.tensors.items()}
    longest = int(batch.tensors["text_length"].max())
    assert batch.size == 12 and shapes == {
        "matched": ((12,), torch.bool),
        "positive": ((12,), torch.bool),
        "image": ((12, 3, 32, 32), torch.uint8),
        "image_for_codes": ((12, 3, 16, 16), torch.uint8),
        "image_masked_at": ((12, 16), torch.bool),
        "text": ((12, longest), torch.int64),
        "text_length": ((12,), torch.int64),
        "text_masked": ((12, longest), torch.int64),
        "text_masked_at": ((12, longest), torch.bool),
    }


def test_threads_and_caches_change_nothing(make: Make, tokenizer: Tokenizer) -> None:
    datasets = [make("a", 20), make("b", 9)]
    plain = stream(datasets, tokenizer, seed=3, threads=1, pixels=PixelCache(0))
    expected = [plain.micro_batches(n) for n in range(6)]
    for threads, budget in ((1, 1 << 20), (3, 0), (4, 50_000)):
        other = stream(datasets, tokenizer, seed=3, threads=threads, pixels=PixelCache(budget))
        for n in (5, 0, 1, 2, 3, 4, 5):  # in any order, and again
            assert equal(other.micro_batches(n), expected[n])
        other.close()


@pytest.mark.parametrize(("world", "micro_batch"), [(1, 5), (1, 1), (2, None), (3, 3), (4, 2), (12, 1)])
def test_any_split_makes_the_same_step(make: Make, tokenizer: Tokenizer, world: int, micro_batch: int | None) -> None:
    datasets = [make("a", 20), make("b", 9)]
    for n in (0, 2, 7):
        expected = rows(stream(datasets, tokenizer, seed=1).micro_batches(n))
        found: list[dict[str, Any]] = []
        for rank in range(world):
            part = stream(datasets, tokenizer, seed=1, rank=rank, world=world, micro_batch=micro_batch)
            batches = part.micro_batches(n)
            assert {batch.size for batch in batches} <= {micro_batch or 12 // world, (micro_batch or 0) - 1}
            found += rows(batches)
        assert found == expected


def test_seed_attempt_step_and_name_matter(make: Make, tokenizer: Tokenizer) -> None:
    dataset = make()
    first = stream([dataset], tokenizer, seed=0)
    base = first.micro_batches(0)
    assert equal(stream([dataset], tokenizer, seed=0).micro_batches(0), base)
    assert not equal(first.micro_batches(1), base)
    for other in ({"seed": 1}, {"attempt": 1}, {"name": "other"}):
        assert not equal(stream([dataset], tokenizer, **other).micro_batches(0), base)


def test_every_epoch_holds_each_sample_once(make: Make, tokenizer: Tokenizer) -> None:
    datasets = [make("a", 20), make("b", 9)]
    source = stream(datasets, tokenizer, views={"image": {"maker": "image", "size": 8}}, batch_size=7)
    keys = [key for n in range(29) for batch in source.micro_batches(n) for key in batch.keys]
    epochs = [keys[start : start + 29] for start in range(0, 203, 29)]
    assert all(len(set(epoch)) == 29 for epoch in epochs)
    assert epochs[0] != epochs[1] and {"a/k0", "b/k8"} <= set(epochs[0])


@pytest.mark.parametrize("count", [1, 2, 3, 16, 17, 1000])
def test_permutations(count: int) -> None:
    images = [permuted(np.arange(count), count, (0, "s", epoch)) for epoch in range(3)]
    assert all(sorted(image.tolist()) == list(range(count)) for image in images)
    if count > 16:
        assert (images[0] != images[1]).any() and (images[0] != np.arange(count)).mean() > 0.9


def test_permutations_are_even() -> None:
    """Every value is about equally likely at every place, and neighbours do not stay neighbours."""
    images = np.stack([permuted(np.arange(10), 10, (seed,)) for seed in range(4000)])
    at = np.stack([(images == value).mean(0) for value in range(10)])
    assert np.abs(at - 0.1).max() < 0.02
    assert abs((np.abs(np.diff(images, axis=1)) == 1).mean() - 0.2) < 0.02


def test_positions_far_ahead_cost_nothing() -> None:
    epochs, indices = locate(np.array([0, 70_000_000 * 9 + 5]), 70_000_000, (1,))
    assert epochs.tolist() == [0, 9] and (indices < 70_000_000).all()


def test_bad_images_are_replaced_counted_and_listed(make: Make, tokenizer: Tokenizer) -> None:
    dataset = make(count=20, bad=(3, 4))
    listed: list[dict[str, Any]] = []
    options = {"max_bad_rate": 0.1, "batch_size": 20, "views": {"image": {"maker": "image"}}}
    source = stream([dataset], None, on_bad=listed.append, threads=3, **options)
    (batch,) = source.micro_batches(0)
    assert sorted(batch.keys) == sorted([*(f"pairs/k{i}" for i in range(20) if i not in (3, 4)), *["pairs/k5"] * 2])
    assert sorted(bad["key"] for bad in listed) == ["k3", "k4", "k4"] and source.bad == 3
    assert listed[0].keys() == {"step", "stream", "dataset", "key", "position", "reason"}
    assert "undecodable image (7 bytes)" in listed[0]["reason"]
    assert equal(stream([dataset], None, **options).micro_batches(0), [batch])


def test_too_many_bad_images_stop(make: Make) -> None:
    views = {"image": {"maker": "image"}}
    source = stream([make(count=20, bad=(3,))], None, views=views, batch_size=20, max_bad_rate=0.001)
    source.micro_batches(0)  # one bad sample of 1000 is allowed
    with pytest.raises(VltkError, match=r"stream stream, its step 1: 2 of 40 samples are bad(.|\n)*pairs/k3: undec"):
        source.micro_batches(1)
    everything = stream([make("none", 5, bad=tuple(range(5)))], None, views=views)
    with pytest.raises(VltkError, match="data set none: 5 bad samples in a row"):
        everything.micro_batches(0)


def test_texts_without_tokens_are_bad(root: Any, tokenizer: Tokenizer) -> None:
    write_dataset(root / "t", [Record(f"k{i}", None, [text]) for i, text in enumerate(["\x07", "a dog"])], source={})
    from vltk.data.dataset import open_dataset

    source = stream([open_dataset("t")], tokenizer, views={"text": {"maker": "text"}}, batch_size=2, max_bad_rate=1)
    assert source.micro_batches(0)[0].keys == ["t/k1", "t/k1"] and source.bad == 1


def test_wrong_streams(root: Any, make: Make, tokenizer: Tokenizer) -> None:
    write_dataset(root / "t", [Record("k", None, ["a dog"])], source={})
    from vltk.data.dataset import open_dataset

    with pytest.raises(VltkError, match="'t' has samples without image, which the view 'image' reads"):
        stream([open_dataset("t")], tokenizer)
    with pytest.raises(VltkError, match="batch_size 12 cannot be shared equally by 5 devices"):
        stream([make()], tokenizer, world=5)
    with pytest.raises(VltkError, match="needs `tokenizer"):
        stream([make("again")], None).micro_batches(0)
    with pytest.raises(RecipeError, match="block_mask"):
        stream([make("more")], tokenizer, views={"mask": {"maker": "blok_mask"}})
    with pytest.raises(RecipeError, match="grit"):
        stream([make("most")], tokenizer, views={"mask": {"maker": "block_mask", "grit": 1}})


def test_texts_alone_are_padded() -> None:
    """Those of different lengths to a multiple of eight, but not beyond the longest there may be."""
    texts = [np.array([1, 2]), np.array([3])]
    filling = Filling(2)
    for row, ids in enumerate(texts):
        filling.put(row, {"a": ids, "b": ids > 0, "c": np.array(7), "codes": np.arange(5)})
    exact = filling.batch(["x", "y"], pad=9, most=0)
    assert exact.tensors["a"].tolist() == [[1, 2], [3, 9]] and exact.tensors["c"].tolist() == [7, 7]
    assert exact.tensors["b"].tolist() == [[True, True], [True, False]] and exact.keys == ["x", "y"]
    wide = {most: filling.batch(["x", "y"], 9, most).tensors for most in (1, 2, 6, 40)}
    assert [tensors["a"].shape[1] for tensors in wide.values()] == [2, 2, 6, 8]
    assert all(tensors["codes"].shape == (2, 5) for tensors in wide.values())
    assert wide[40]["a"][1].tolist() == [3] + [9] * 7 and wide[40]["b"].sum(1).tolist() == [2, 1]
