"""Several runs on the same samples: paired tests of each metric against the first run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from vltk.errors import VltkError
from vltk.eval.answers import compare, seed_of
from vltk.eval.evaluation import Evaluation, labels
from vltk.eval.sheet import Sheet
from vltk.eval.statistics.paired import benjamini_hochberg
from vltk.log import warn


@dataclass(frozen=True)
class Contrast:
    """The run minus the first one, in percent; `p` as it is, and `adjusted` over all that is compared."""

    task: str
    metric: str
    run: str
    value: float
    low: float
    high: float
    p: float
    adjusted: float

    def record(self) -> dict[str, Any]:
        return asdict(self)


def contrasts(found: Sequence[Sequence[Evaluation]]) -> list[Contrast]:
    """Of each later run against the first. A task whose samples are not the same is said aloud and left out."""
    first, *others = found
    names = labels(found)[1:]
    rows = [row for other, name in zip(others, names, strict=True) for row in _against(first, other, name)]
    adjusted = benjamini_hochberg([row.p for row in rows])
    return [replace(row, adjusted=corrected) for row, corrected in zip(rows, adjusted, strict=True)]


def sheet(rows: Sequence[Contrast], baseline: str) -> Sheet:
    """As a terminal shows it."""
    headings = ["task", "metric", "run", "difference", "95 %", "p", "adjusted p"]
    return Sheet(f"against {baseline}", headings, [list(map(_cells, rows))], frozenset(headings[:3]))


def _cells(row: Contrast) -> list[str]:
    span = f"{row.low:+.1f} to {row.high:+.1f}"
    return [row.task, row.metric, row.run, f"{row.value:+.2f}", span, f"{row.p:.3g}", f"{row.adjusted:.3g}"]


def _against(first: Sequence[Evaluation], second: Sequence[Evaluation], name: str) -> Iterator[Contrast]:
    """Of all that both runs have, the second one called `name`; not yet adjusted."""
    by_task = {one.task: one for one in first if one.done}
    for later in second:
        before = by_task.get(later.task)
        if before is None or not later.done:
            continue
        ours, theirs = before.answers(), later.answers()
        for metric in [metric for metric in ours if metric in theirs]:
            try:
                seed = seed_of(later.task, int(later.content["seed"]))
                gained = later.metrics()[metric] - before.metrics()[metric]
                found = compare(metric, ours[metric], theirs[metric], gained, seed)
            except VltkError as error:
                warn(f"{later.task}: {metric} of {name}: {error}")
                break
            if found is not None:
                span = found.interval
                yield Contrast(later.task, metric, name, found.value, span.low, span.high, found.p, found.p)
