"""Mixture and loader: exact proportions, resuming anywhere, errors and ends handed over."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from tests.unit.data.samples import OPTIONS
from vltk.data.dataset import Dataset
from vltk.data.loader import Loader
from vltk.data.mixture import Mixture
from vltk.data.stream import Stream
from vltk.errors import VltkError

Make = Callable[..., Dataset]


def test_proportions_are_exact_at_every_step() -> None:
    weights = {"pairs": 3.0, "text": 1.0, "image": 0.5}
    for seed in range(3):
        mixture = Mixture(weights, 900, seed)
        seen = dict.fromkeys(weights, 0)
        for step in range(900):
            assert {name: mixture.count(name, step) for name in weights} == seen
            seen[mixture.stream_at(step)] += 1
            for name, weight in weights.items():
                assert abs(seen[name] - (step + 1) * weight / 4.5) < 1
        assert seen == {"pairs": 600, "text": 200, "image": 100}


def order(steps: int, seed: int) -> list[str]:
    mixture = Mixture({"a": 1, "b": 1, "c": 2}, steps, seed)
    return [mixture.stream_at(step) for step in range(min(steps, 200))]


def test_mixture_is_a_pure_function() -> None:
    assert order(200, 1) == order(200, 1) == order(500, 1)
    assert len({tuple(order(200, seed)) for seed in range(10)}) > 1
    assert {Mixture({"only": 2.0}, 3).stream_at(step) for step in range(3)} == {"only"}


def streams(dataset: Dataset, threads: int) -> dict[str, Stream]:
    views = {"image": {"maker": "image", "size": 8}}
    return {
        name: Stream([dataset], views, batch_size=4, micro_batch=2, image=OPTIONS, threads=threads, name=name)
        for name in ("a", "b")
    }


def keys(loader: Loader) -> list[tuple[int, str, list[str], int]]:
    return [
        (
            step,
            name,
            [key for batch in batches for key in batch.keys],
            int(sum(b.tensors["image"].sum() for b in batches)),
        )
        for step, name, batches in loader
    ]


def test_resuming_and_threads_change_nothing(make: Make) -> None:
    dataset, mixture = make(count=11), Mixture({"a": 2, "b": 1}, 30)
    whole = keys(Loader(streams(dataset, 1), mixture, 0, 30, prefetch=1))
    assert [step for step, *_ in whole] == list(range(30)) and [name for _, name, *_ in whole].count("a") == 20
    for first, threads, prefetch in ((0, 3, 4), (17, 2, 2), (29, 1, 8), (30, 1, 1)):
        assert keys(Loader(streams(dataset, threads), mixture, first, 30, prefetch)) == whole[first:]


def test_errors_arrive_at_their_step(make: Make) -> None:
    dataset = make(count=8, bad=tuple(range(8)))
    loader = iter(Loader(streams(dataset, 1), Mixture({"a": 1}, 5), 0, 5))
    with pytest.raises(VltkError, match="bad samples in a row"):
        next(loader)


def test_leaving_early_ends_the_thread(make: Make) -> None:
    loader = Loader(streams(make(), 1), Mixture({"a": 1}, 1000), 0, 1000, prefetch=2)
    before = threading.active_count()
    for step, _, _ in loader:
        if step == 3:
            break
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() == before and loader.wait_seconds > 0
