"""The table of an evaluation: ours with intervals, published figures with a mark, averages; on a terminal and in files.

Tasks of FLAVA's table stand with the numbers that stand there; all other metrics, and those of other tasks, below them.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from vltk.eval.answers import Answers, replicates, seed_of
from vltk.eval.averages import MACRO, Average, averages, means
from vltk.eval.evaluation import Evaluation
from vltk.eval.finetuning.plan import LAST
from vltk.eval.headline import Headline, headlines
from vltk.eval.references import UNVERIFIED, Comparable, Published, published, references
from vltk.eval.results import Row
from vltk.eval.sheet import Cells, Sheet
from vltk.eval.statistics.intervals import Interval, of_sum, percentiles
from vltk.whole import whole

SHOWN = {"flava": "FLAVA", "clip_400m": "CLIP 400M", "clip_paper": "CLIP paper"}  # columns of references.yaml
SAME, UNSURE, OTHER = "", "?", "≠"  # of a published figure: may be compared, unverified, measured otherwise
WORDS = frozenset({"task", "metric", ""})  # columns that are no numbers
LEGEND = f"{UNSURE}: not known whether it may be compared; {OTHER}: another split, metric or set of samples"


@dataclass(frozen=True)
class Line:
    """A number of a task: `published` by the columns' names, `notes` what is to be known of the task, `seeds` what each
    of several trainings gave."""

    task: str
    number: str
    value: float
    low: float | None
    high: float | None
    n: int
    chance: float | None
    headline: bool
    published: dict[str, dict[str, Any]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    seeds: dict[str, float] = field(default_factory=dict)

    @property
    def remarks(self) -> list[str]:
        """The notes, and how much the seeds differ."""
        if len(self.seeds) < 2:
            return self.notes
        spread = max(self.seeds.values()) - min(self.seeds.values())
        return [*self.notes, f"median of {len(self.seeds)}, spread {spread:.1f}"]


@dataclass(frozen=True)
class AverageLine:
    """An average as it is shown, with its interval where every number of it has one."""

    name: str
    value: float
    low: float | None
    high: float | None
    tasks: int
    of: int
    references: dict[str, float]
    comparable: dict[str, Comparable]  # by column, as it is said of single figures: what the least of its rows is

    @property
    def count(self) -> str:
        return f"all {self.of}" if self.tasks == self.of else f"{self.tasks} of {self.of}"

    def reference(self, column: str) -> str:
        """The average of a column with its mark; empty where it has none."""
        if column not in self.references:
            return ""
        return published_cell({"value": self.references[column], "comparable": self.comparable[column]})


@dataclass(frozen=True)
class Table:
    """All of one run under one protocol."""

    run: str
    step: int
    protocol: str
    lines: list[Line]
    averages: list[AverageLine]
    failed: dict[str, str]
    absent: list[str]

    @classmethod
    def of(cls, found: Sequence[Evaluation], protocol: str, absent: Sequence[str] = ()) -> Table:
        done = [one for one in found if one.done]
        first = found[0].content
        lines = [line for one in done for line in _lines(one, protocol)]
        failed = {one.task: one.error for one in found if not one.done}
        return cls(
            str(first["run"]), int(first["step"]), protocol, lines, _averages(done, protocol), failed, list(absent)
        )

    def write(self, folder: Path, title: str) -> Path:
        """TITLE.json, TITLE.csv, TITLE.tex and TITLE.md, each whole; the last one's path."""
        return write([self], self.sheet(), folder, title)

    def sheet(self) -> Sheet:
        """What a terminal and files for people show of it."""
        named = f", protocol {self.protocol}" if self._shown() else ""
        title = f"{self.run} at step {self.step:,}{named}"
        averages = [_average_cells(one, self._shown()) for one in self.averages]
        remarks = [*self.remarks(), *self.failures()]
        return Sheet(title, self._headings(), [*self._groups(), averages], WORDS, remarks)

    def remarks(self) -> list[str]:
        """What the marks mean, and what was left out."""
        marked = any(one["comparable"] is not True for line in self.lines for one in line.published.values())
        told = [f"not evaluated, as data or cards are absent: {', '.join(self.absent)}"] if self.absent else []
        return ([LEGEND] if marked else []) + told

    def failures(self) -> list[str]:
        return [f"{task} failed: {error}" for task, error in self.failed.items()]

    def _shown(self) -> list[str]:
        """The columns of references that have something to say here."""
        return [name for name in SHOWN if any(name in line.published for line in self.lines)]

    def _headings(self) -> list[str]:
        titles = [SHOWN[name] for name in self._shown()]
        return ["task", "metric", "value", "95 %", "n", "chance", *titles, ""]

    def _groups(self) -> list[list[Cells]]:
        """Tasks of several numbers by themselves, others together."""
        groups: list[list[Cells]] = []
        joins = False
        for _, lines in groupby(self.lines, lambda line: line.task):
            rows = [_cells(line, self._shown()) for line in lines]
            if joins and len(rows) == 1:
                groups[-1] += rows
            else:
                groups.append(list(rows))
            joins = len(rows) == 1
        return groups


def write(tables: Sequence[Table], sheet: Sheet, folder: Path, title: str) -> Path:
    """The sheet of one or several runs as TITLE.tex and TITLE.md, all numbers of them as TITLE.json and TITLE.csv."""
    folder.mkdir(parents=True, exist_ok=True)
    told = asdict(tables[0]) if len(tables) == 1 else [asdict(table) for table in tables]
    texts = {"json": json.dumps(told, indent=1, ensure_ascii=False) + "\n", "csv": _csv(tables)}
    for ending, text in (texts | {"tex": sheet.latex(), "md": sheet.markdown()}).items():
        with whole(folder / f"{title}.{ending}") as part:
            part.write_text(text, encoding="utf-8")
    return folder / f"{title}.md"


def _csv(tables: Sequence[Table]) -> str:
    text = io.StringIO()
    out = csv.writer(text, lineterminator="\n")
    columns = list(references())
    head = ["run", "step", "task", "metric", "value", "low", "high", "n", "chance", "headline", "notes"]
    out.writerow(head + [name for column in columns for name in (column, f"{column} comparable")])
    for table in tables:
        for line in table.lines:
            own = [table.run, table.step, line.task, line.number, line.value, line.low, line.high, line.n, line.chance]
            figures = [line.published.get(column, {}) for column in columns]
            told = [one.get(key, "") for one in figures for key in ("value", "comparable")]
            cells = (*own, line.headline, "; ".join(line.remarks), *told)
            out.writerow(["" if cell is None else cell for cell in cells])
        for one in table.averages:
            own = [table.run, table.step, f"average {one.name}", one.count, one.value, one.low, one.high, None, None]
            told = [said.get(column, "") for column in columns for said in (one.references, one.comparable)]
            out.writerow(["" if cell is None else cell for cell in (*own, True, "", *told)])
    return text.getvalue()


def _lines(one: Evaluation, protocol: str) -> Iterator[Line]:
    """The numbers of the task that stand in the table, or all of its metrics."""
    headline = headlines(protocol).get(one.card)
    notes = [*one.content.get("marks", []), *_warnings(one.rows)]
    if headline is None:
        for line in one.rows:
            yield _line(one.task, line["metric"], line, notes if line is one.rows[0] else [])
        return
    for number, line in _numbers(one, headline).items():
        shown = number.removeprefix(one.card).strip() or " and ".join(headline.parts(one.card)[number])
        figures = {found.reference: _figure(found, one) for found in published(number, protocol)}
        yield _line(one.task, shown, line, notes, True, figures)


def _numbers(one: Evaluation, headline: Headline) -> dict[str, Row]:
    """A row for each number of the task in the table."""
    rows, values = {line["metric"]: line for line in one.rows}, headline.numbers(one.card, one.metrics())
    return {
        number: rows[names[0]] if len(names) == 1 else _mean(one, names, values[number])
        for number, names in headline.parts(one.card).items()
    }


def _line(
    task: str,
    number: str,
    line: Row,
    notes: Sequence[str],
    headline: bool = False,
    figures: Mapping[str, dict[str, Any]] | None = None,
) -> Line:
    low, high = line.get("interval", (None, None))
    detail = line.get("detail", {})
    own = (line["value"], low, high, line["n"], detail.get("chance"))
    return Line(task, number, *own, headline, dict(figures or {}), list(notes), detail.get("seeds", {}))


def _mean(one: Evaluation, names: Sequence[str], value: float) -> Row:
    """The mean of several metrics as a row: its interval is that of the mean over the same resamples."""
    parts = _replicates(one, names)
    found = None if parts is None else percentiles(sum(parts.values()) / len(parts), "bootstrap")
    own = [line for line in one.rows if line["metric"] in names]
    row: Row = {"value": value, "n": sum({line["split"]: line["n"] for line in own}.values())}
    details = [line.get("detail", {}) for line in own]
    if all("chance" in detail for detail in details):
        row["detail"] = {"chance": sum(detail["chance"] for detail in details) / len(own)}
    if all("seeds" in detail for detail in details):
        seeds = {seed: sum(detail["seeds"][seed] for detail in details) / len(own) for seed in details[0]["seeds"]}
        row["detail"] = row.get("detail", {}) | {"seeds": seeds}
    return row if found is None else row | {"interval": [found.low, found.high]}


def _warnings(rows: Sequence[Row]) -> list[str]:
    detail = rows[0].get("detail", {}) if rows else {}
    told = [] if detail.get("converged", True) else ["the fit did not converge"]
    told += ["the best lambda is at the end of the range"] if detail.get("penalty_at_end_of_range") else []
    told += ["solver sklearn"] if detail.get("solver") == "sklearn" else []
    told += [] if detail.get("selection", LAST) == LAST else [f"best step on {rows[0]['split']}"]
    cuts = {line["split"]: line["detail"]["texts_cut"] for line in rows if "texts_cut" in line.get("detail", {})}
    cut = sum(cuts.values())
    return told + ([f"{cut:,} texts cut"] if cut else [])


def _figure(found: Published, one: Evaluation) -> dict[str, Any]:
    """A published figure; what we measured on other samples cannot be compared with any."""
    comparable = found.comparable if one.is_comparable else False
    remark = found.remark if one.is_comparable else "; ".join(one.content["marks"])
    return {"value": found.value, "comparable": comparable, "source": found.source, "remark": remark}


def _averages(done: Sequence[Evaluation], protocol: str) -> list[AverageLine]:
    """Of the tasks of FLAVA's table; a task that stands there several times enters without options, or as it stands
    first."""
    known = headlines(protocol)
    plain = sorted(reversed(done), key=lambda one: one.task == one.card)  # the last one of a card enters
    own = {one.card: one for one in plain if one.card in known}
    tasks = [_numbers(one, known[card]) for card, one in own.items()]
    values = {name: line["value"] for task in tasks for name, line in task.items()}
    sure = _intervals(tasks, protocol)
    found = []
    for average in averages(values, protocol):
        entered = [one for card, one in own.items() if average.name in (MACRO, known[card].group)]
        found.append(_average_line(average, sure.get(average.name), _comparable(entered, protocol)))
    return found


def _comparable(entered: Sequence[Evaluation], protocol: str) -> dict[str, Comparable]:
    """By column, whether the average over these tasks may be compared: no more than each of its figures."""
    said: dict[str, list[Comparable]] = {}
    for one in entered:
        for number in headlines(protocol)[one.card].parts(one.card):
            for figure in published(number, protocol):
                said.setdefault(figure.reference, []).append(_figure(figure, one)["comparable"])
    least: tuple[Comparable, ...] = (False, UNVERIFIED, True)
    return {column: next(mark for mark in least if mark in own) for column, own in said.items()}


def _intervals(tasks: Sequence[Mapping[str, Row]], protocol: str) -> dict[str, Interval]:
    """Of the averages, by name: tasks are independent, the numbers of one task are taken to rise and fall together.
    None at all where a number has no interval."""
    numbers = {name: line for task in tasks for name, line in task.items()}
    if not all("interval" in line for line in numbers.values()):
        return {}
    ends = {name: np.array([line["value"], *line["interval"]]) for name, line in numbers.items()}
    parts = [means({name: end * (name in task) for name, end in ends.items()}, protocol) for task in tasks]
    return {name: of_sum(*np.transpose([part[name] for part in parts])) for name in (parts[0] if parts else ())}


def _average_line(one: Average, found: Interval | None, comparable: dict[str, Comparable]) -> AverageLine:
    low, high = (None, None) if found is None else (found.low, found.high)
    return AverageLine(one.name, one.value, low, high, one.tasks, one.of, one.references, comparable)


def _replicates(one: Evaluation, names: Sequence[str]) -> dict[str, np.ndarray] | None:
    """Resampled values of these metrics by name, drawn together; None where one has no answers."""
    answers: Mapping[str, Answers] = one.answers()
    if any(name not in answers for name in names):
        return None
    seed = seed_of(one.task, int(one.content["seed"]))
    found = {name: replicates(name, answers[name], seed) for name in names}
    known = {name: values for name, values in found.items() if values is not None}
    return known if len(known) == len(names) else None


def _cells(line: Line, shown: Sequence[str]) -> list[str]:
    first = "" if line.chance is None else f"{line.chance:.2f}"
    figures = [published_cell(line.published.get(name)) for name in shown]
    notes = "; ".join(line.remarks)
    return [line.task, line.number, f"{line.value:.2f}", span(line), f"{line.n:,}", first, *figures, notes]


def _average_cells(one: AverageLine, shown: Sequence[str]) -> list[str]:
    figures = [one.reference(name) for name in shown]
    return [f"average {one.name}", one.count, f"{one.value:.2f}", span(one), "", "", *figures, ""]


def span(line: Line | AverageLine) -> str:
    """The interval."""
    return "" if line.low is None or line.high is None else f"{line.low:.1f} to {line.high:.1f}"


def published_cell(figure: Mapping[str, Any] | None) -> str:
    """With the mark of a figure that may not be compared; empty where there is none."""
    if figure is None:
        return ""
    marks = {True: SAME, False: OTHER}
    return f"{figure['value']:.2f}{marks.get(figure['comparable'], UNSURE)}"
