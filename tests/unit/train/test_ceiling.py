"""The ceiling: what products reach by the fastest and by the median of their calls."""

from __future__ import annotations

import pytest
import torch

from vltk.train import ceiling

CPU = torch.device("cpu")


def test_the_fastest_and_the_median_of_the_same_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ceiling, "SHAPES", ((2, 3, 5), (2, 5, 10)))
    calls = iter([[4.0, 1.0, 3.0], [9.0, 2.0, 5.0]])
    monkeypatch.setattr(ceiling, "_seconds", lambda *_: next(calls))
    assert ceiling.fastest_and_median(CPU, torch.float32) == pytest.approx((260 / 3, 260 / 8))


def test_calls_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ceiling, "SHAPES", ((64, 64, 64),))
    fastest, median = ceiling.fastest_and_median(CPU, torch.float32, 0.01)
    assert fastest >= median > 0
    assert ceiling.products(CPU, torch.float32, 0.01) > 0
