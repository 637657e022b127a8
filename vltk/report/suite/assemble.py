"""Puts the page together and writes it whole, with the tables beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from vltk.errors import VltkError
from vltk.eval.evaluation import Evaluation
from vltk.eval.several import Outcome
from vltk.eval.table import Line, write
from vltk.report.page import fold, page, section
from vltk.report.plots import FRAME
from vltk.report.suite import bars, errors, head, lines
from vltk.report.suite.numbers import Number, groups, numbers
from vltk.report.suite.radar import radar
from vltk.whole import whole

OPEN = 4  # tasks that are shown unfolded
KEPT = ("protocol", "seed", "nonstandard", "model", "data", "marks", "seconds", "environment")
PATHS = ("sweep", "folds")  # how each fit went: charts show it


def build(made: Outcome, folder: Path) -> Path:
    """Writes report.html, and table.md, .tex, .csv and .json, into `folder`; returns the page's path.

    Raises VltkError where the folder cannot be written.
    """
    try:
        write(made.tables, made.sheet(), folder, "table")
        with whole(folder / "report.html") as part:
            part.write_text(_page(made), encoding="utf-8")
    except OSError as error:
        raise VltkError(f"the report could not be written into {folder}: {error}") from error
    return folder / "report.html"


def _page(made: Outcome) -> str:
    found, colours = numbers(made), {label: place % 8 for place, label in enumerate(made.labels)}
    shown = _newest(made)
    body = [
        FRAME,
        head.header(made, colours),
        head.absences(made),
        head.averages(made),
        _radars(found, colours),
        head.results(made, found, colours),
        lines.learning(made, found),
        bars.between(made, found),
        bars.to_published(made.labels[shown], found),
        lines.sweeps(made, colours),
        _mistakes(made, shown, found),
        _provenance(made),
    ]
    return page(f"{made.title}: {'; '.join(made.labels)} · vltk", "\n".join(part for part in body if part))


def _newest(made: Outcome) -> int:
    """The run whose mistakes are shown: the first one, at the last of its steps that was scored."""
    run = made.tables[0].run
    return max((place for place, one in enumerate(made.tables) if one.run == run), key=lambda at: made.tables[at].step)


def _radars(found: list[Number], colours: dict[str, int]) -> str:
    figures = "".join(radar(group, own, colours) for group, own in groups(found))
    return section("At a glance", f'<div class="radars">{figures}</div>' if figures else "")


def _mistakes(made: Outcome, shown: int, found: list[Number]) -> str:
    """By task, folded away where they are many."""
    label = made.labels[shown]
    lines = {(one.task, one.name): one.lines[label] for one in found if label in one.lines}
    done = [one for one in made.found[shown] if one.done]
    bodies = [(one, errors.shown(one, made.library)) for one in done]
    parts = [
        _folded(one, {name: line for (task, name), line in lines.items() if task == one.task}, body, len(done) <= OPEN)
        for one, body in bodies
        if body
    ]
    note = f"Of {escape(label)}: what it takes for what, and the samples that it is most wrong about."
    return section("What it gets wrong", "".join(parts), note=note)


def _folded(one: Evaluation, lines: Mapping[str, Line], body: str, unfolded: bool) -> str:
    """Under what the page shows of the task, by name."""
    values = ", ".join(f"{name} {line.value:.1f} %" for name, line in lines.items())
    title = f"{one.task}: {values}; {max(line.n for line in lines.values()):,} samples"
    return f"<details{' open' if unfolded else ''}><summary>{escape(title)}</summary>{body}</details>"


def _provenance(made: Outcome) -> str:
    """What decided each result, as its file has it, without the sweeps."""
    told = {
        label: {one.task: _kept(one) for one in found} for label, found in zip(made.labels, made.found, strict=True)
    }
    text = json.dumps(told, indent=1, ensure_ascii=False)
    return section("Provenance", fold("Options, data, weights, versions", f"<pre>{escape(text)}</pre>"))


def _kept(one: Evaluation) -> dict[str, Any]:
    """With what is known of each metric: seeds, selection, penalty, convergence."""
    details = {line["metric"]: line["detail"] for line in one.rows if "detail" in line}
    short = {metric: {key: value for key, value in own.items() if key not in PATHS} for metric, own in details.items()}
    return {key: one.content[key] for key in KEPT if key in one.content} | {"details": short}
