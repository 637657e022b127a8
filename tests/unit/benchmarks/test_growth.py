"""The benchmark of growth: exponents are those of the figures, and each row builds what it says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import growth
from benchmarks.steps import Size

TOY = Size(32, 2, 2, 2, 1, image=64, hidden=6, batch=4, vocab=1100, codes=64)


def test_exponents_are_read_off_all_but_the_smallest_size() -> None:
    assert growth.exponent([1, 2, 4, 8], [5, 3 * 4, 3 * 16, 3 * 64]) == pytest.approx(2)
    assert growth.exponent([1, 2, 4, 8], [99, 2, 4, 16]) == pytest.approx(1.5)


def test_every_row_is_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VLTK_DATA", str(tmp_path))
    small = {"BATCHES": (2, 3, 4), "LENGTHS": (8, 12, 16), "IMAGES": (32, 48, 64), "DEPTHS": (2, 3, 4)}
    small["SAMPLES"] = (16, 32, 64)
    for name, sizes in small.items():
        monkeypatch.setattr(growth, name, sizes)
    monkeypatch.setattr(growth, "TINY", replace(TOY, batch=2))
    found = {what: growth.steps(*row, 1) for what, row in growth.rows().items()}
    assert found["patches of an image"]["sizes"] == [4, 9, 16]
    for row in found.values():
        assert row["mib"][0] < row["mib"][1] and min(row["seconds"]) > 0
    found["samples of the data"] = growth.loading(1)
    assert found["samples of the data"]["mib"][1] > found["samples of the data"]["mib"][0] > 0
    assert growth.table(found).count("\n| ") == 1 + 5 - 1
