"""The benchmark of cached codes: both ways train on the same codes, and the table says what was measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import cached_codes
from vltk.data.stream import Stream


def test_both_ways_bring_the_same_codes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLTK_DATA", str(tmp_path))
    monkeypatch.setitem(cached_codes.PICTURES, "tiny", 8)
    brought: list[tuple[Stream, list[str], set[str]]] = []
    micro_batches = Stream.micro_batches

    def seen(self: Stream, n: int) -> object:
        made = micro_batches(self, n)
        brought.append((self, made[0].keys, set(made[0].tensors)))
        return made

    monkeypatch.setattr(Stream, "micro_batches", seen)
    found = cached_codes.measure("tiny", rounds=2, batch=4, threads=1)
    turns = [(keys, views) for _, keys, views in brought[2:]]  # behind the looks at what is trained and at the codes
    assert len(turns) == 6 and [len(found["seconds"][way]) for way in cached_codes.WAYS] == [2, 2]
    for (first, one), (second, other) in zip(turns[::2], turns[1::2], strict=True):
        assert first == second and one ^ other == {"codes", "image_for_codes"}
    assert found["codes_compared"] == 3 * 4 * 36 and found["codes_different"] == 0
    text = cached_codes.table(found)
    assert text.startswith("tiny: 4 images a step, bf16, ") and text.count("\n| ") == 3
    assert f"the step is {found['ratio']['step']:.2f} times as fast" in text


def test_ratios_are_medians_of_ratios_within_a_round() -> None:
    seconds = {"computed": [(1.0, 3.0), (1.0, 9.0), (1.0, 4.0)], "from disk": [(1.0, 1.0), (1.0, 3.0), (1.0, 4.0)]}
    assert cached_codes.ratios(seconds) == {"step": 3.0, "batch and step": 2.0}
