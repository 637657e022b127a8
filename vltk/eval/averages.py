"""The averages of FLAVA's table (arXiv 2112.04482, table 4), of all tasks or of those there are.

Language is the mean of 8 tasks, vision of 22, multimodal of 11 numbers of 5 tasks (retrieval has four of each of two),
and macro the mean of the three.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from vltk.errors import VltkError
from vltk.eval.headline import Group, headlines
from vltk.eval.references import references
from vltk.strict import suggest

GROUPS: tuple[Group, ...] = get_args(Group)
MACRO = "macro"


@dataclass(frozen=True)
class Average:
    """`value` of `tasks` of all `of` tasks; `references` are those of the same tasks, where a column has them all."""

    name: str
    value: float
    tasks: int
    of: int
    references: dict[str, float]

    @property
    def complete(self) -> bool:
        return self.tasks == self.of

    def __str__(self) -> str:
        """As it must be shown: a partial one says of how many tasks it is."""
        return f"{self.value:.2f}" + ("" if self.complete else f" ({self.tasks} of {self.of})")


def averages(values: Mapping[str, float], protocol: str = "flava") -> list[Average]:
    """From the numbers of tasks (headline.Headline.numbers), in percent; a task enters with all of its numbers.

    Groups without a task are left out, and macro unless all three have one. Raises VltkError for an unknown number.
    """
    tasks = headlines(protocol)
    parts = {name: list(headline.parts(name)) for name, headline in tasks.items()}
    known = [number for numbers in parts.values() for number in numbers]
    if unknown := [number for number in values if number not in known]:
        raise VltkError(f"averages: no number '{unknown[0]}' in the table{suggest(unknown[0], known)}")
    present = [name for name, numbers in parts.items() if all(number in values for number in numbers)]
    found = []
    for name, value in means(values, protocol).items():
        count, of = (sum(name in (MACRO, tasks[task].group) for task in some) for some in (present, tasks))
        found.append(Average(name, value, count, of, _references(name, present, protocol)))
    return found


def means(values: Mapping[str, Any], protocol: str = "flava") -> dict[str, Any]:
    """The averages by name; of arrays, element by element."""
    numbers: dict[str, list[Any]] = {group: [] for group in GROUPS}
    for task, headline in headlines(protocol).items():
        own = headline.parts(task)
        if all(number in values for number in own):
            numbers[headline.group] += [values[number] for number in own]
    found = {group: sum(some) / len(some) for group, some in numbers.items() if some}
    return found | ({MACRO: sum(found.values()) / len(found)} if len(found) == len(GROUPS) else {})


def _references(name: str, present: list[str], protocol: str) -> dict[str, float]:
    """The same average of each column that has all numbers of these tasks, whether comparable or not."""
    tasks = headlines(protocol)
    wanted = [number for task in present if name in (MACRO, tasks[task].group) for number in tasks[task].parts(task)]
    return {
        column: means({number: one.values[number] for number in wanted}, protocol)[name]
        for column, one in references().items()
        if all(number in one.values for number in wanted)
    }
