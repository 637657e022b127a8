"""Paired tests on the same samples: several runs against the first of them, and runs against their random weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from rich import box
from rich.table import Table

from vltk.errors import VltkError
from vltk.eval.answers import AT_RANDOM, Answers, compare, seed_of
from vltk.eval.evaluation import Evaluation
from vltk.eval.statistics.paired import benjamini_hochberg
from vltk.log import warn

RANDOM = "random weights"


@dataclass(frozen=True)
class Contrast:
    """The run minus what it stands `against`, in percent; `p` as it is, and `adjusted` over all that is compared."""

    task: str
    metric: str
    run: str
    against: str
    value: float
    low: float
    high: float
    p: float
    adjusted: float

    def record(self) -> dict[str, Any]:
        return asdict(self)


def contrasts(found: Sequence[Sequence[Evaluation]]) -> list[Contrast]:
    """Of each later run against the first, then of each run against its random weights where a task scores both.

    A task whose samples are not the same is said aloud and left out.
    """
    first, *others = found
    rows = [row for other in others for row in _against(first, other)]
    rows += [row for run in found for row in _above_random(run)]
    adjusted = benjamini_hochberg([row.p for row in rows])
    return [replace(row, adjusted=corrected) for row, corrected in zip(rows, adjusted, strict=True)]


def grid(rows: Sequence[Contrast], against: str) -> Table:
    """Those against one baseline, as a terminal shows them."""
    shown = Table(title=f"against {against}", title_justify="left", highlight=False, box=box.SIMPLE_HEAD)
    for heading in ("task", "metric", "run", "difference", "95 %", "p", "adjusted p"):
        left = heading in ("task", "metric", "run")
        shown.add_column(heading, justify="left" if left else "right", overflow="fold")
    for row in (row for row in rows if row.against == against):
        span = f"{row.low:+.1f} to {row.high:+.1f}"
        shown.add_row(row.task, row.metric, row.run, f"{row.value:+.2f}", span, f"{row.p:.3g}", f"{row.adjusted:.3g}")
    return shown


def _against(first: Sequence[Evaluation], second: Sequence[Evaluation]) -> Iterator[Contrast]:
    """Of all that both runs have; not yet adjusted."""
    by_task = {one.task: one for one in first if one.done}
    for later in second:
        before = by_task.get(later.task)
        if before is None or not later.done:
            continue
        ours, theirs = before.answers(), later.answers()
        name = str(before.content["run"])
        for metric in [metric for metric in ours if metric in theirs]:
            gained = later.metrics()[metric] - before.metrics()[metric]
            try:
                yield from _paired(later, metric, name, (ours[metric], theirs[metric]), gained)
            except VltkError as error:
                warn(f"{later.task}: {metric} of {later.content['run']}: {error}")
                break


def _above_random(found: Sequence[Evaluation]) -> Iterator[Contrast]:
    """Of one run: all that its tasks score of the same model at random weights as well."""
    for one in found:
        values = one.metrics()
        both = [metric for metric in values if f"{metric}{AT_RANDOM}" in values]
        answers = one.answers() if both else {}
        for metric in both:
            fresh = f"{metric}{AT_RANDOM}"
            if metric in answers and fresh in answers:
                gained = values[metric] - values[fresh]
                yield from _paired(one, metric, RANDOM, (answers[fresh], answers[metric]), gained)


def _paired(
    one: Evaluation, metric: str, against: str, pair: tuple[Answers, Answers], gained: float
) -> Iterator[Contrast]:
    """The second of the pair minus the first, not yet adjusted; nothing where a metric cannot be made of answers."""
    found = compare(metric, *pair, gained, seed_of(one.task, int(one.content["seed"])))
    if found is not None:
        name, span = str(one.content["run"]), found.interval
        yield Contrast(one.task, metric, name, against, found.value, span.low, span.high, found.p, found.p)
