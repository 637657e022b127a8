"""The top of the page: what was scored and how, the averages in large type, and every number in one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from html import escape

from vltk.eval.several import Outcome, notes
from vltk.eval.table import LEGEND, SHOWN, AverageLine, Line, published_cell, span
from vltk.report.page import facts, fold, notice, section, table
from vltk.report.suite.numbers import Number, groups

REFERENCE = "flava"


def header(made: Outcome, colours: Mapping[str, int]) -> str:
    """The runs in their colours, and the facts that all share."""
    first, contents = made.tables[0], [one.content for found in made.found for one in found]
    names = "".join(f'<span class="stream c{colour}">{escape(label)}</span> ' for label, colour in colours.items())
    done = len({one.task for found in made.found for one in found if one.done})
    pairs = [
        ("runs", names),
        ("tasks", f"{done}" + (f", {len(first.absent)} absent" if first.absent else "")),
        ("protocol", escape(first.protocol)),
        ("seed", f"{contents[0]['seed']}"),
        ("vltk", escape(str(contents[0]["vltk"]))),
        ("on", escape(", ".join(dict.fromkeys(str(one["environment"]["device"]) for one in contents)))),
    ]
    return (
        f'<header class="top"><div class="title"><h1>{escape(made.title)}</h1>'
        f'<span class="made">written {datetime.now():%Y-%m-%d %H:%M}</span></div>{facts(pairs)}</header>'
    )


def averages(made: Outcome) -> str:
    """The averages of FLAVA's table: of one run in large type, of several a column each."""
    names = list(dict.fromkeys(one.name for found in made.tables for one in found.averages))
    if not names:
        return ""
    if len(made.tables) == 1:
        return section("Averages", f'<div class="figures">{"".join(map(_average, made.tables[0].averages))}</div>')
    by_run = [{one.name: one for one in found.averages} for found in made.tables]
    rows = [_averages_row(name, [found.get(name) for found in by_run]) for name in names]
    heads = ["average", *made.labels, "tasks", "FLAVA, the same tasks"]
    return section("Averages", table(heads, rows, numeric=range(1, len(heads))))


def _average(one: AverageLine) -> str:
    lines = [f"{one.count} tasks", *([f"95 %: {span(one)}"] if span(one) else [])]
    lines += [f"FLAVA, the same tasks: {one.reference(REFERENCE)}"] if REFERENCE in one.references else []
    smalls = "".join(f"<small>{escape(line)}</small>" for line in lines)
    return f"<div><b>{one.value:.2f}</b><span>{escape(one.name)}</span>{smalls}</div>"


def _averages_row(name: str, found: Sequence[AverageLine | None]) -> list[str]:
    """Runs may have other tasks than the first one: then the counts are those of each."""
    known = [one for one in found if one is not None]
    values = ["" if one is None else f"{one.value:.2f} <small>{span(one)}</small>" for one in found]
    figures = dict.fromkeys(one.reference(REFERENCE) for one in known if REFERENCE in one.references)
    return [escape(name), *values, "; ".join(dict.fromkeys(one.count for one in known)), "; ".join(figures)]


def results(made: Outcome, numbers: Sequence[Number], colours: Mapping[str, int]) -> str:
    """A row a number with a column a run, by modality; below it what else was measured."""
    parts = []
    for group, own in groups(numbers):
        shown = [name for name in SHOWN if any(name in one.any.published for one in own)]
        heads = ["task", "metric", *made.labels, "n", "chance", *(SHOWN[name] for name in shown), ""]
        rows = [_row(one, made.labels, colours, shown) for one in own]
        right = range(2, len(heads) - 1)
        parts.append(f"<h4>{escape(group)}</h4>{table(heads, rows, numeric=right)}")
    if not parts:
        return ""
    legend = f'<p class="note">Values in percent with 95 % intervals. {escape(LEGEND)}.</p>'
    tables = f'<div class="several">{"".join(parts)}</div>' if len(made.labels) > 1 else "".join(parts)
    return section("Results", tables + legend + _others(made, numbers), name="results")


def _row(one: Number, labels: Sequence[str], colours: Mapping[str, int], shown: Sequence[str]) -> list[str]:
    figures = [published_cell(one.any.published.get(name)) for name in shown]
    values = [_value(one, one.lines.get(label), colours[label]) for label in labels]
    chance = "" if one.any.chance is None else f"{one.any.chance:.1f}"
    return [
        escape(one.task),
        escape(one.name),
        *values,
        f"{one.any.n:,}",
        chance,
        *map(escape, figures),
        f'<small class="remarks">{escape(notes(one.lines))}</small>',
    ]


def _value(one: Number, line: Line | None, colour: int) -> str:
    """The value, its interval, and a bar with the interval and a mark at chance."""
    if line is None:
        return ""
    between = f" <small>{span(line)}</small>" if span(line) else ""
    if not one.in_percent:
        return f"{line.value:.2f}{between}"
    mark = "" if line.chance is None else f'<i style="left:{max(0.0, line.chance):.1f}%"></i>'
    share = max(0.0, min(1.0, line.value / 100))
    return f'{line.value:.2f}{between}<span class="bar c{colour}" style="--share:{share:.3f}">{mark}</span>'


def _others(made: Outcome, numbers: Sequence[Number]) -> str:
    """All other metrics of all tasks, folded away."""
    known = {(one.task, one.name) for one in numbers}
    rows = [
        [escape(label), escape(line.task), escape(line.number), f"{line.value:.2f}", span(line), f"{line.n:,}"]
        for label, found in zip(made.labels, made.tables, strict=True)
        for line in found.lines
        if (line.task, line.number) not in known
    ]
    heads = ["run", "task", "metric", "value", "95 %", "n"]
    return fold("Other metrics", table(heads, rows, numeric=(3, 4, 5))) if rows else ""


def absences(made: Outcome) -> str:
    """What failed, with its traceback, and what was not there."""
    parts = []
    for label, found in zip(made.labels, made.found, strict=True):
        for one in found:
            if not one.done:
                parts.append(notice(f"{label}: {one.task} failed: {one.error}"))
                parts.append(fold("Traceback", f"<pre>{escape(str(one.content['traceback']))}</pre>"))
    if made.tables[0].absent:
        parts.append(notice(f"Not evaluated, as data or cards are absent: {', '.join(made.tables[0].absent)}"))
    return section("Not in the tables", "".join(parts))
