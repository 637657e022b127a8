"""The table of a sweep: for each variant the mean and spread over seeds, and the paired difference to the baseline."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from rich.table import Table

from vltk.run import RUNS
from vltk.sweep.measure import columns, value
from vltk.sweep.plan import Plan, links
from vltk.whole import whole

COVERAGE = 0.95  # of the interval around a paired difference


@dataclass(frozen=True)
class Spread:
    """n values: mean, standard deviation of one, standard error of the mean, and the mean's 95 % t interval.

    One value has neither spread nor interval.
    """

    n: int
    mean: float
    sd: float | None = None
    se: float | None = None
    interval: tuple[float, float] | None = None


def spread(values: Sequence[float]) -> Spread | None:
    """None where there is no value."""
    if len(values) < 2:
        return Spread(1, values[0]) if values else None
    from scipy.stats import t

    mean, sd = fmean(values), stdev(values)
    se = sd / math.sqrt(len(values))
    half = float(t.ppf((1 + COVERAGE) / 2, len(values) - 1)) * se
    return Spread(len(values), mean, sd, se, (mean - half, mean + half))


def difference(ours: Mapping[int, float], baseline: Mapping[int, float]) -> Spread | None:
    """Of the values by seed, over the seeds that both have: ours less the baseline's."""
    return spread([ours[seed] - baseline[seed] for seed in ours if seed in baseline])


@dataclass(frozen=True)
class Summary:
    """The values of each variant and measure by seed, and what follows from them."""

    plan: Plan
    values: dict[str, dict[str, dict[int, float]]]  # variant -> heading -> seed -> value

    @property
    def headings(self) -> list[str]:
        return list(self.plan.sweep.options.measure)

    def of(self, variant: str, heading: str) -> Spread | None:
        return spread(list(self.values[variant][heading].values()))

    def against_baseline(self, variant: str, heading: str) -> Spread | None:
        """None for the baseline itself, and where there is none."""
        baseline = self.plan.sweep.options.baseline
        if baseline is None or variant == baseline:
            return None
        return difference(self.values[variant][heading], self.values[baseline][heading])


def summarise(plan: Plan) -> Summary:
    """From what is on disk. A stage that several seeds share counts once, for the first of them."""
    options = plan.sweep.options
    found: dict[str, dict[str, dict[int, float]]] = {
        variant: {heading: {} for heading in options.measure} for variant in options.variants
    }
    counted: set[tuple[str, str, str]] = set()
    for run in plan.runs:
        for column in columns(plan.sweep, run.recipe):
            once = (run.variant, column.heading, run.keys[column.stage])
            if once not in counted and (figure := value(run, column)) is not None:
                counted.add(once)
                found[run.variant][column.heading][run.seed] = figure
    return Summary(plan, found)


def write(plan: Plan, errors: Mapping[str, str]) -> Summary:
    """table.md and table.json of the sweep, as it stands. errors: by run, why it failed."""
    summary = summarise(plan)
    folder = RUNS / plan.sweep.name
    folder.mkdir(parents=True, exist_ok=True)
    _put(folder / "table.md", markdown(summary))
    _put(folder / "table.json", json.dumps(_plain(summary, errors), indent=1, allow_nan=False) + "\n")
    return summary


def printed(summary: Summary) -> Table:
    """The table for a terminal."""
    sweep = summary.plan.sweep
    baseline = sweep.options.baseline
    title = _title(summary) + (f"; below it the difference to {baseline}" if baseline else "")
    grid = Table(title=title, title_justify="left", highlight=False, show_lines=bool(baseline))
    grid.add_column("variant", overflow="fold")
    for heading in summary.headings:
        grid.add_column(heading, justify="right", overflow="fold")
    for variant in sweep.options.variants:
        cells = []
        for heading in summary.headings:
            beside = shown_difference(summary.against_baseline(variant, heading))
            cells.append(shown(summary.of(variant, heading), _seeds(summary)) + (f"\n{beside}" if beside else ""))
        grid.add_row(variant, *cells)
    return grid


def markdown(summary: Summary) -> str:
    """The same as a file: values, then differences to the baseline."""
    options = summary.plan.sweep.options
    rows = [
        [variant, *(shown(summary.of(variant, heading), _seeds(summary)) for heading in summary.headings)]
        for variant in options.variants
    ]
    text = [_title(summary), "", *_lines(["variant", *summary.headings], rows)]
    if options.baseline is not None:
        rows = [
            [variant, *(shown_difference(summary.against_baseline(variant, heading)) for heading in summary.headings)]
            for variant in options.variants
            if variant != options.baseline
        ]
        text += ["", f"Difference to `{options.baseline}`, seed by seed: mean ± standard error [95 % t interval].", ""]
        text += _lines(["variant", *summary.headings], rows)
    return "\n".join(text) + "\n"


def shown(found: Spread | None, seeds: int) -> str:
    """`16.20 ± 0.41 (n 3)`; `(n 2 of 3)` while seeds are missing."""
    if found is None:
        return f"(n 0 of {seeds})"
    count = f"n {found.n}" if found.n == seeds else f"n {found.n} of {seeds}"
    return f"{found.mean:.2f}{'' if found.sd is None else f' ± {found.sd:.2f}'} ({count})"


def shown_difference(found: Spread | None) -> str:
    """`+1.20 ± 0.32 [-0.18, +2.58]`."""
    if found is None:
        return ""
    if found.interval is None:
        return f"{found.mean:+.2f} (n 1)"
    return f"{found.mean:+.2f} ± {found.se:.2f} [{found.interval[0]:+.2f}, {found.interval[1]:+.2f}]"


def _title(summary: Summary) -> str:
    return f"{summary.plan.sweep.name}: mean ± standard deviation over seeds"


def _seeds(summary: Summary) -> int:
    return len(summary.plan.sweep.options.seeds)


def _lines(head: list[str], rows: list[list[str]]) -> list[str]:
    ruled = [["---", *("--:" for _ in head[1:])]]
    return ["| " + " | ".join(row) + " |" for row in [head, *ruled, *rows]]


def _plain(summary: Summary, errors: Mapping[str, str]) -> dict[str, Any]:
    plan, options = summary.plan, summary.plan.sweep.options
    return {
        "sweep": plan.sweep.name,
        "recipe": options.sweep,
        "seeds": options.seeds,
        "baseline": options.baseline,
        "measure": {heading: measure.model_dump() for heading, measure in options.measure.items()},
        "variants": {
            variant: {heading: _figures(summary, variant, heading) for heading in summary.headings}
            for variant in options.variants
        },
        "runs": {
            run.name: {"variant": run.variant, "seed": run.seed, "trained": run.is_trained()}
            | ({"error": errors[run.name]} if run.name in errors else {})
            for run in plan.runs
        },
        "shared": links(plan),
    }


def _figures(summary: Summary, variant: str, heading: str) -> dict[str, Any]:
    own, beside = summary.of(variant, heading), summary.against_baseline(variant, heading)
    return {
        "values": {str(seed): figure for seed, figure in summary.values[variant][heading].items()},
        **(asdict(own) if own else {"n": 0}),
        "difference": asdict(beside) if beside else None,
    }


def _put(path: Path, text: str) -> None:
    with whole(path) as part:
        part.write_text(text, encoding="utf-8")
