"""Several runs on the same samples: paired tests of each metric against the first run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from rich import box
from rich.table import Table

from vltk.errors import VltkError
from vltk.eval.answers import compare, seed_of
from vltk.eval.evaluation import Evaluation
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
    rows = [row for other in others for row in _against(first, other)]
    adjusted = benjamini_hochberg([row.p for row in rows])
    return [replace(row, adjusted=corrected) for row, corrected in zip(rows, adjusted, strict=True)]


def grid(rows: Sequence[Contrast], baseline: str) -> Table:
    """As a terminal shows it."""
    shown = Table(title=f"against {baseline}", title_justify="left", highlight=False, box=box.SIMPLE_HEAD)
    for heading in ("task", "metric", "run", "difference", "95 %", "p", "adjusted p"):
        left = heading in ("task", "metric", "run")
        shown.add_column(heading, justify="left" if left else "right", overflow="fold")
    for row in rows:
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
        for metric in [metric for metric in ours if metric in theirs]:
            try:
                seed = seed_of(later.task, int(later.content["seed"]))
                gained = later.metrics()[metric] - before.metrics()[metric]
                found = compare(metric, ours[metric], theirs[metric], gained, seed)
            except VltkError as error:
                warn(f"{later.task}: {metric} of {later.content['run']}: {error}")
                break
            if found is not None:
                span, name = found.interval, str(later.content["run"])
                yield Contrast(later.task, metric, name, found.value, span.low, span.high, found.p, found.p)
