"""Streams at scale: block shuffle, sources by weight, exact epochs over ranks and threads, resuming, skip lists."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.data.samples import OPTIONS
from vltk.data import skip
from vltk.data.dataset import Dataset, open_dataset
from vltk.data.loader import Loader
from vltk.data.mixture import Mixture, Shares
from vltk.data.order import Order
from vltk.data.pixels import PixelCache
from vltk.data.reading import Reading
from vltk.data.stream import Stream
from vltk.errors import VltkError

Make = Callable[..., Dataset]
VIEWS: dict[str, dict[str, Any]] = {"image": {"maker": "image", "size": 8}}
ORDERS: list[dict[str, Any]] = [{}, {"window": 1}, {"window": 2}, {"weights": [2.0, 1.0]}]


def stream(datasets: list[Dataset], **options: Any) -> Stream:
    return Stream(datasets, VIEWS, **{"batch_size": 6, "image": OPTIONS, "pixels": PixelCache(0), **options})


def keys(source: Stream, steps: range) -> list[str]:
    return [key for step in steps for batch in source.micro_batches(step) for key in batch.keys]


class TestOrder:
    @pytest.mark.parametrize("sizes", [[5], [1, 1, 1], [7, 0, 3, 7, 7, 2], [100] * 13])
    @pytest.mark.parametrize("window", [None, 1, 2, 5, 50])
    def test_every_epoch_holds_each_sample_once(self, sizes: list[int], window: int | None) -> None:
        order = Order(sizes, window, (0, "s"))
        epochs, indices = order.locate(np.arange(3 * order.count))
        assert epochs.tolist() == np.arange(3).repeat(order.count).tolist()
        for epoch in range(3):
            assert sorted(indices[epochs == epoch].tolist()) == list(range(order.count))
        if order.count > 50:
            assert (indices[: order.count] != indices[order.count : 2 * order.count]).any()

    def test_a_window_reads_few_shards_at_a_time_and_mixes_them(self) -> None:
        order = Order([100] * 12, 3, (0, "s"))
        shards = order.locate(np.arange(1200))[1] // 100
        windows = shards.reshape(4, 300)
        assert [len(set(window)) for window in windows.tolist()] == [3] * 4
        assert all(len(set(window[:50])) == 3 for window in windows.tolist())
        assert sorted(set(windows[0].tolist())) not in ([0, 1, 2], sorted(set(windows[1].tolist())))

    def test_any_position_is_found_alone(self) -> None:
        order, fresh = Order([7, 3, 9, 4], 2, (3, "s")), Order([7, 3, 9, 4], 2, (3, "s"))
        whole = order.locate(np.arange(92))[1].tolist()
        assert [int(fresh.locate(np.array([position]))[1][0]) for position in reversed(range(92))] == whole[::-1]
        assert order.locate(np.array([23 * 10**9 + 5]))[0].tolist() == [10**9]

    def test_seeds_and_epochs_differ(self) -> None:
        first = Order([20] * 6, 2, (0, "s")).locate(np.arange(120))[1]
        assert (first != Order([20] * 6, 2, (1, "s")).locate(np.arange(120))[1]).any()
        assert (first != Order([20] * 6, 2, (0, "s")).locate(np.arange(120, 240))[1]).any()

    def test_what_is_near_is_what_is_read_next(self) -> None:
        order = Order([4] * 7, 3, (0, "s"))
        for position in range(0, 84, 5):
            ahead = order.locate(np.arange(position, position + 5))[1] // 4
            assert set(ahead.tolist()) <= set(order.near(position))


class TestShares:
    def test_shares_are_exact_and_counted(self) -> None:
        rng = np.random.default_rng(0)
        for _ in range(60):
            weights = (rng.random(int(rng.integers(1, 9))) ** 2 + 0.01).round(3)
            sources, counts = Shares(weights.tolist()).split(np.arange(1000))
            taken = np.cumsum(sources[:, None] == np.arange(len(weights)), axis=0)
            assert (counts == taken[np.arange(1000), sources] - 1).all()
            assert np.abs(taken - np.arange(1, 1001)[:, None] * weights / weights.sum()).max() < 2

    def test_any_position_is_found_alone(self) -> None:
        shares = Shares([2, 1, 1 / 3])
        sources, counts = shares.split(np.arange(500))
        for position in (0, 1, 77, 499):
            assert [int(one[0]) for one in shares.split(np.array([position]))] == [sources[position], counts[position]]
        assert int(Shares([3, 1]).split(np.array([4 * 10**12]))[1][0]) in (3 * 10**12, 10**12)

    def test_whole_weights_are_met_each_round(self) -> None:
        sources = Shares([3, 2, 1]).split(np.arange(60))[0].reshape(10, 6)
        assert all(np.bincount(turn, minlength=3).tolist() == [3, 2, 1] for turn in sources)


@pytest.mark.parametrize("options", ORDERS)
@pytest.mark.parametrize(("world", "threads"), [(1, 3), (2, 1), (2, 3), (3, 1), (3, 3)])
def test_ranks_and_threads_read_the_same_epoch(make: Make, options: dict[str, Any], world: int, threads: int) -> None:
    """All ranks together: every sample once an epoch, batches of one size, the order of a single process."""
    datasets = [make("a", 20), make("b", 10)]
    steps = range(15)  # 90 samples: three epochs by size; by weight 60 of a, 30 of b
    single = [keys(stream(datasets, seed=4, **options), range(step, step + 1)) for step in steps]
    ranks = [stream(datasets, seed=4, rank=rank, world=world, threads=threads, **options) for rank in range(world)]
    for step in steps:
        parts = [keys(rank, range(step, step + 1)) for rank in ranks]
        assert {len(part) for part in parts} == {6 // world}
        assert [key for part in parts for key in part] == single[step]
    for rank in ranks:
        rank.close()
    read = [key for step in single for key in step]
    for name, count in (("a", 20), ("b", 10)):
        own = [key for key in read if key.startswith(f"{name}/")]
        assert len(own) == 3 * count
        assert all(len(set(own[start : start + count])) == count for start in range(0, 3 * count, count))


@pytest.mark.parametrize("options", ORDERS)
def test_the_tail_after_a_resume_is_the_same(make: Make, options: dict[str, Any]) -> None:
    """With other threads, ranks and prefetching; what was fetched and not used is fetched again."""
    datasets, mixture = [make("a", 20), make("b", 9)], Mixture({"s": 1.0}, 24)
    whole = keys(stream(datasets, **options), range(24))
    begun = Loader({"s": stream(datasets, threads=2, **options)}, mixture, 0, 24, prefetch=6)
    for step, _, _ in begun:
        if step == 9:  # up to 16 were fetched
            break
    rest = Loader({"s": stream(datasets, threads=3, **options)}, mixture, 10, 24, prefetch=2)
    assert [key for _, _, batches in rest for batch in batches for key in batch.keys] == whole[60:]
    ranks = [stream(datasets, rank=rank, world=3, **options) for rank in range(3)]
    assert [key for step in range(10, 24) for one in ranks for key in keys(one, range(step, step + 1))] == whole[60:]


def test_more_threads_than_shards_and_samples(make: Make) -> None:
    datasets = [make("a", 3)]
    many = stream(datasets, threads=16, batch_size=12)
    assert keys(many, range(5)) == keys(stream(datasets, batch_size=12), range(5))
    assert Counter(keys(many, range(5))) == {f"a/k{n}": 20 for n in range(3)}
    many.close()


def test_epochs_differ_and_come_again(make: Make) -> None:
    """As after `set_epoch` elsewhere: no epoch is repeated, none is left out, whatever was read before."""
    dataset = make("a", 12)
    for options in ({}, {"window": 1}, {"weights": [1.0]}):
        source = stream([dataset], batch_size=12, **options)
        epochs = [keys(source, range(step, step + 1)) for step in range(4)]
        assert len({tuple(epoch) for epoch in epochs}) == 4 and all(len(set(epoch)) == 12 for epoch in epochs)
        assert keys(source, range(2, 3)) == epochs[2] and keys(source, range(3)) == sum(epochs[:3], [])


def test_an_exhausted_source_begins_its_next_epoch(make: Make) -> None:
    datasets = [make("large", 40), make("small", 3)]
    read = keys(stream(datasets, weights=[1, 3], batch_size=8), range(10))
    counts = Counter(key.partition("/")[0] for key in read)
    assert counts == {"large": 20, "small": 60}
    small = [key for key in read if key.startswith("small")]
    assert all(set(small[start : start + 3]) == {"small/k0", "small/k1", "small/k2"} for start in range(0, 60, 3))
    assert len({key for key in read if key.startswith("large")}) == 20


def test_the_order_of_one_source_does_not_depend_on_the_others(make: Make) -> None:
    a, b = make("a", 20), make("b", 10)
    alone = keys(stream([a], weights=[1.0]), range(5))
    mixed = [key for key in keys(stream([a, b], weights=[2, 1]), range(15)) if key.startswith("a/")]
    assert mixed[:30] == alone


def test_small_local_data_is_mixed_as_a_whole(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = make("a", 30)
    assert Reading([dataset], None, None, (0,), "s").pools[0].order.window is None
    monkeypatch.setattr("vltk.data.reading.WHOLE", 1000)
    monkeypatch.setattr("vltk.data.reading.WINDOW", 2)
    assert Reading([dataset], None, None, (0,), "s").pools[0].order.window == 2


class TestSkips:
    def test_skipped_samples_are_not_read(self, make: Make, root: Path) -> None:
        before = make("a", 20)
        skip.write(root / "a", [skip.Skip(n, f"k{n}", "exact", "a/k1", 0) for n in (0, 7, 8, 19)])
        dataset = open_dataset("a")
        kept = [n for n in range(20) if n not in (0, 7, 8, 19)]
        assert len(dataset) == 16 and dataset.shard_sizes == [6, 5, 5] and dataset.digest != before.digest
        assert [dataset.read(n).key for n in range(16)] == [f"k{n}" for n in kept]
        assert [dataset.raw(n) for n in range(16)] == kept
        with pytest.raises(IndexError):
            dataset.read(16)
        for options in ({}, {"window": 1}, {"weights": [1.0]}):
            assert sorted(keys(stream([dataset], batch_size=4, **options), range(4))) == sorted(f"a/k{n}" for n in kept)

    def test_all_are_there_without_it(self, make: Make, root: Path) -> None:
        before = make("a", 5)
        skip.write(root / "a", [skip.Skip(2, "k2", "exact", "a/k1", 0)])
        assert len(open_dataset("a", skips=False)) == 5 and open_dataset("a", skips=False).digest == before.digest

    def test_an_empty_source_is_named(self, make: Make, root: Path) -> None:
        good = make("good", 5)
        make("a", 2)
        skip.write(root / "a", [skip.Skip(n, f"k{n}", "exact", "good/k1", 0) for n in range(2)])
        for weights in (None, [1.0, 1.0]):
            with pytest.raises(VltkError, match=r"stream stream: the data set 'a' has no samples \(its skip list"):
                stream([good, open_dataset("a")], weights=weights)


def test_a_newer_format_is_refused(make: Make, root: Path) -> None:
    make("a", 2)
    path = root / "a/manifest.json"
    path.write_text(path.read_text().replace('"format": 2', '"format": 3'))
    with pytest.raises(VltkError, match=r"written by a newer vltk \(format 3"):
        open_dataset("a")
