"""Lines of the page: accuracy over the penalties of a sweep, and numbers over the checkpoints of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vltk.errors import VltkError
from vltk.eval.answers import compare, seed_of
from vltk.eval.evaluation import Evaluation
from vltk.eval.several import Outcome
from vltk.report.curves import Curve, curve
from vltk.report.page import number, section
from vltk.report.plots import Across, chart, charts
from vltk.report.suite.numbers import Number

PENALTIES = Across(  # by their logarithm; the best accuracy stands in the legend
    lambda at: f"1e{at:g}" if at == int(at) else "",
    lambda at: f"lambda {number(10**at)}",
    lambda values: float(max(values)),
)
CLEAR = 0.05  # a p-value below it is no chance


def sweeps(made: Outcome, colours: Mapping[str, int]) -> str:
    """A chart a probe: accuracy on validation data over lambda, a line a run."""
    tasks = dict.fromkeys(one.task for found in made.found for one in found)
    figures = [_sweep(task, made, colours) for task in tasks]
    note = (
        "Percent right on validation data at each penalty that was tried; the best one is then fitted again to all "
        "training data. A curve that is highest at its end asks for a longer range."
    )
    return section("Penalties of the probes", charts(figures), note=note)


def _sweep(task: str, made: Outcome, colours: Mapping[str, int]) -> str:
    lines, chosen = [], []
    for label, found in zip(made.labels, made.found, strict=True):
        detail = _detail(found, task)
        if sweep := detail.get("sweep"):
            places = [math.log10(one["penalty"]) for one in sweep]
            lines.append(curve(label, colours[label], places, [one["accuracy"] for one in sweep], smoothing=0.0))
            chosen.append(number(detail["penalty"]))
    note = f"chosen {', '.join(chosen)}"
    return chart(task, lines, note=note, percent=True, across=PENALTIES)


def _detail(found: Sequence[Evaluation], task: str) -> dict[str, Any]:
    rows = next((one.rows for one in found if one.task == task), [])
    detail: dict[str, Any] = rows[0].get("detail", {}) if rows else {}
    return detail


def learning(made: Outcome, numbers: Sequence[Number]) -> str:
    """A chart a number over the steps of a run of which several checkpoints were scored, with 95 % bands."""
    series = _series(made)
    figures = [_learnt(made, one, series) for one in numbers] if series else []
    note = (
        "By checkpoint, with 95 % intervals. Rising or falling: the last two checkpoints differ on the same samples by "
        f"a paired test (p below {CLEAR}); level: that cannot be told."
    )
    return section("Over training", charts(figures), note=note)


def _series(made: Outcome) -> dict[str, list[int]]:
    """By run, which of the tables are its checkpoints in the order of their steps; runs with several alone."""
    found: dict[str, list[int]] = {}
    for place, table in sorted(enumerate(made.tables), key=lambda one: one[1].step):
        found.setdefault(table.run, []).append(place)
    return {run: places for run, places in found.items() if len(places) > 1}


def _learnt(made: Outcome, one: Number, series: Mapping[str, Sequence[int]]) -> str:
    curves, told = [], []
    for colour, (run, places) in enumerate(series.items()):
        own = [place for place in places if made.labels[place] in one.lines]
        if len(own) > 1:
            curves.append(_band(run, colour % 8, made, one, own))
            told.append(_verdict(made, one, own))
    return chart(one.title, curves, note="; ".join(told), percent=one.in_percent)


def _band(run: str, colour: int, made: Outcome, one: Number, places: Sequence[int]) -> Curve:
    steps = [made.tables[place].step for place in places]
    lines = [one.lines[made.labels[place]] for place in places]
    values, low, high = (
        np.array([end if end is not None else line.value for end, line in zip(ends, lines, strict=True)], float)
        for ends in ([line.value for line in lines], [line.low for line in lines], [line.high for line in lines])
    )
    return Curve(run, colour, np.array(steps, float), values, low, high, float(values[-1]))


def _verdict(made: Outcome, one: Number, places: Sequence[int]) -> str:
    """What the last step brought, and where it was best."""
    best = max(places, key=lambda place: one.lines[made.labels[place]].value)
    where = f"best at {made.tables[best].step:,}"
    before, after = (next(found for found in made.found[place] if found.task == one.task) for place in places[-2:])
    metric = one.metrics[0]
    try:
        ours, theirs = before.answers().get(metric), after.answers().get(metric)
        gained = after.metrics()[metric] - before.metrics()[metric]
        seed = seed_of(one.task, int(after.content["seed"]))
        found = compare(metric, ours, theirs, gained, seed) if ours and theirs else None
    except VltkError:  # other samples, or no answers any more
        return where
    if found is None:
        return where
    return f"{'level' if found.p >= CLEAR else 'rising' if found.value > 0 else 'falling'}, {where}"
