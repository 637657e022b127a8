"""Several runs, or checkpoints of one, in one table: a column each, under the protocol that all were scored by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vltk.eval.compare import Contrast
from vltk.eval.evaluation import Evaluation, labels
from vltk.eval.sheet import Cells, Sheet
from vltk.eval.sources import Library
from vltk.eval.table import SHOWN, WORDS, AverageLine, Line, Table, published_cell, span


@dataclass(frozen=True)
class Outcome:
    """What one call of `vltk eval` found: `found` and `tables` of each run, `contrasts` of each against the first.

    `library` reads the samples that were scored again.
    """

    title: str
    found: Sequence[Sequence[Evaluation]]
    tables: Sequence[Table]
    contrasts: Sequence[Contrast]
    library: Library

    @property
    def labels(self) -> list[str]:
        return labels(self.found)

    def sheet(self) -> Sheet:
        """A single run's own table; of several, a column of values with intervals each, and what was published."""
        if len(self.tables) == 1:
            return self.tables[0].sheet()
        shown = [name for name in SHOWN if any(name in line.published for line in self._lines().values())]
        headings = ["task", "metric", *self.labels, "chance", *(SHOWN[name] for name in shown), ""]
        rows = [self._row(key, line, shown) for key, line in self._lines().items()]
        averages = [self._average_row(name, one, shown) for name, one in self._averages().items()]
        remarks = [line for table in self.tables for line in table.remarks()]
        remarks += [
            f"{label}: {line}"
            for label, table in zip(self.labels, self.tables, strict=True)
            for line in table.failures()
        ]
        title = f"{self.title}: {'; '.join(self.labels)}; protocol {self.tables[0].protocol}"
        return Sheet(title, headings, [rows, averages], WORDS, list(dict.fromkeys(remarks)))

    def _lines(self) -> Mapping[tuple[str, str], Line]:
        """The numbers that any run has, each as the first run has it."""
        found: dict[tuple[str, str], Line] = {}
        for table in self.tables:
            for line in table.lines:
                found.setdefault((line.task, line.number), line)
        return found

    def _averages(self) -> Mapping[str, AverageLine]:
        return {one.name: one for table in reversed(self.tables) for one in table.averages}

    def _row(self, key: tuple[str, str], line: Line, shown: Sequence[str]) -> Cells:
        found = [{(one.task, one.number): one for one in table.lines}.get(key) for table in self.tables]
        own = {label: one for label, one in zip(self.labels, found, strict=True) if one is not None}
        values = list(map(_value, found))
        chance = "" if line.chance is None else f"{line.chance:.2f}"
        figures = [published_cell(line.published.get(name)) for name in shown]
        return [*key, *values, chance, *figures, notes(own)]

    def _average_row(self, name: str, line: AverageLine, shown: Sequence[str]) -> Cells:
        found = [{one.name: one for one in table.averages}.get(name) for table in self.tables]
        values = [_value(one) + _count(one) for one in found]
        figures = [line.reference(column) for column in shown]
        return [f"average {name}", "", *values, "", *figures, ""]


def notes(lines: Mapping[str, Line]) -> str:
    """Of a number by run: what all of its lines say once, the rest behind the runs' labels."""
    said: dict[str, list[str]] = {}
    for label, line in lines.items():
        for note in line.remarks:
            said.setdefault(note, []).append(label)
    return "; ".join(note if len(own) == len(lines) else f"{', '.join(own)}: {note}" for note, own in said.items())


def _value(line: Line | AverageLine | None) -> str:
    if line is None:
        return ""
    return f"{line.value:.2f}" + (f" ({span(line)})" if span(line) else "")


def _count(line: AverageLine | None) -> str:
    return "" if line is None or line.tasks == line.of else f", {line.tasks} of {line.of}"
