"""Curves keep what matters of long logs; charts are small, valid SVG."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from tests.unit.report.report_pages import Page
from vltk.report.curves import POINTS, curve, ticks, value_range
from vltk.report.page import duration, number
from vltk.report.plots import chart


def test_a_long_curve_is_thinned_but_keeps_its_spikes_and_ends() -> None:
    steps = np.arange(1, 20_001)
    values = np.exp(-steps / 5000)
    values[12_345] = 9.0
    made = curve("pairs", 0, steps.tolist(), values.tolist())
    assert len(made.steps) == len(made.smooth) == POINTS
    assert made.high.max() == 9.0
    assert (made.steps[0], made.steps[-1]) == (1, 20_000)
    assert made.thinned


def test_smoothing_follows_the_mean_and_leaves_constants_alone() -> None:
    noisy = [1.0, -1.0] * 200
    assert np.abs(curve("", 0, range(400), noisy).smooth).max() < 0.15
    assert curve("", 0, range(400), [2.5] * 400).smooth == pytest.approx(2.5)
    assert curve("", 0, range(5), [5, 4, 3, 2, 1], smoothing=0.0).smooth.tolist() == [5, 4, 3, 2, 1]


def test_values_that_are_not_finite_are_left_out() -> None:
    made = curve("", 0, [1, 2, 3, 4], [1.0, math.nan, math.inf, 2.0])
    assert made.steps.tolist() == [1, 4]


def test_the_range_is_not_ruined_by_a_spike_and_never_empty() -> None:
    values = [1.0] * 500 + [1000.0] + [2.0] * 500
    low, high = value_range([curve("", 0, range(1001), values)])
    assert low <= 1.0 and 2.0 <= high < 100
    low, high = value_range([curve("", 0, [1, 2], [0.0, 0.0])])
    assert low < 0 < high


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-1.35, 1.1), (0.0625, 1), (1e-5, 9e-4), (3, 150_000)])
def test_ticks_are_few_round_and_inside(low: float, high: float) -> None:
    found = ticks(low, high)
    assert 3 <= len(found) <= 6
    assert all(low <= value <= high for value in found)
    assert np.allclose(np.diff(found), found[1] - found[0])


def test_a_chart_holds_each_curve_and_its_readings() -> None:
    curves = [curve("pairs", 0, range(1, 50), range(49)), curve("te<xt", 1, range(1, 50), [3.0] * 49)]
    page = Page(chart("loss & more", curves, note="what"))
    assert len(page.all("polyline", "line")) == 2
    assert "loss & more" in page.text and "te<xt" in page.text
    (svg,) = page.all("svg")
    readings = json.loads(svg["data-curves"] or "")
    assert readings[0]["at"][-1] == "step 49"
    assert len(readings[1]["x"]) == len(readings[1]["value"]) == 49


def test_a_chart_without_points_is_left_out() -> None:
    assert chart("nothing", [curve("", 0, [], []), curve("", 0, [1], [math.nan])]) == ""
    assert "circle" in chart("one point", [curve("", 0, [10], [1.5])])


def test_numbers_read_well() -> None:
    shown = [number(value) for value in (0, 12, 123456, 1234.5, 3.14159, 0.25, 5e-4, 1.25e-5, 99.996, math.inf)]
    assert shown == ["0", "12", "123,456", "1,234", "3.142", "0.25", "5e-4", "1.25e-5", "100", "inf"]
    assert [duration(s) for s in (7, 125, 7322)] == ["7 s", "2 min 05 s", "2 h 02 min"]
