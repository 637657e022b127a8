"""The numbers that the page draws, each with what every run has of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from vltk.eval.averages import GROUPS
from vltk.eval.headline import headlines
from vltk.eval.several import Outcome
from vltk.eval.table import Line

OTHER = "other tasks"
GROUP_NAMES = (*GROUPS, OTHER)
SUMMARIES = ("mean recall", "VQA accuracy", "Pearson correlation")  # of a task that is not in FLAVA's table
PERCENT = ("accuracy", "recall", "correlation", "F1", "ROC AUC")
SHORT = {"image_to_text R@": "TR@", "text_to_image R@": "IR@"}  # FLAVA's words: retrieval of texts, of images
LONGEST = 34


@dataclass(frozen=True)
class Number:
    """A number of a task. `metrics`: those whose mean it is; `lines`: by the runs' labels."""

    task: str
    name: str
    group: str
    metrics: Sequence[str]
    lines: Mapping[str, Line]
    alone: bool  # whether the task has no other one

    @property
    def title(self) -> str:
        name = self.name
        for long, short in SHORT.items():
            name = name.replace(long, short)
        return shortened(self.task if self.alone else f"{self.task} {name}", LONGEST)

    @property
    def in_percent(self) -> bool:
        return "R@" in self.name or any(word in self.name for word in PERCENT)

    @property
    def any(self) -> Line:
        return next(iter(self.lines.values()))


def numbers(made: Outcome) -> list[Number]:
    """Those of FLAVA's table, and of each other task the one that says most, in the order of the tables."""
    by_run = [
        {(line.task, line.number): _noted(line, table.lines) for line in table.lines if _is_shown(line, table.lines)}
        for table in made.tables
    ]
    keys = list(dict.fromkeys(key for lines in by_run for key in lines))
    found = []
    for task, name in keys:
        own = {
            label: lines[task, name] for label, lines in zip(made.labels, by_run, strict=True) if (task, name) in lines
        }
        alone = [other for other, _ in keys].count(task) == 1
        found.append(Number(task, name, *_kind(task, name, made.tables[0].protocol), own, alone))
    return found


def shortened(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def groups(found: Sequence[Number]) -> Iterator[tuple[str, list[Number]]]:
    """By modality, as FLAVA's table has it, then what is in none."""
    for group in GROUP_NAMES:
        if own := [number for number in found if number.group == group]:
            yield group, own


def _is_shown(line: Line, lines: Sequence[Line]) -> bool:
    if line.headline:
        return True
    names = [other.number for other in lines if other.task == line.task]
    return line.number == next((name for name in SUMMARIES if name in names), names[0])


def _noted(line: Line, lines: Sequence[Line]) -> Line:
    """With what is to be known of the task, which tables say once, at its first line."""
    return replace(line, notes=next(other.notes for other in lines if other.task == line.task))


def _kind(task: str, name: str, protocol: str) -> tuple[str, Sequence[str]]:
    """The group of a number, and its metrics."""
    card = task.partition(":")[0]
    headline = headlines(protocol).get(card)
    if headline is None:
        return OTHER, [name]
    parts = headline.parts(card)
    return headline.group, parts.get(f"{card} {name}") or parts[card]
