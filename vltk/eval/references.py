"""Published figures, where they come from, and whether ours may be compared with them: references.yaml."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

import yaml

from vltk.eval.headline import headlines
from vltk.strict import Strict

Comparable = bool | Literal["unverified"]
UNVERIFIED: Literal["unverified"] = "unverified"


@dataclass(frozen=True)
class Published:
    """One figure beside ours, in percent."""

    reference: str
    title: str
    value: float
    source: str
    comparable: Comparable
    memory: bool  # from memory: not to be quoted unchecked
    remark: str


class Reference(Strict):
    """A column of figures by number (headline.Headline.parts), as `protocol` defines them, with the doubts of some."""

    title: str
    source: str
    comparable: Comparable
    values: dict[str, float]
    protocol: str = "flava"
    memory: bool = False
    remark: str = ""
    unverified: dict[str, str] = {}
    different: dict[str, str] = {}

    def doubt(self, number: str, protocol: str) -> tuple[Comparable, str]:
        """Whether this figure may be compared with one of `protocol`, and what stands against it.

        A split that its source does not state is not known to be another one than ours.
        """
        ours, theirs = (_measured(number, name) for name in (protocol, self.protocol))
        if ours[0] != theirs[0] or (ours != theirs and number not in self.unverified):
            return False, f"{' and '.join(theirs[0])} on {theirs[1]}; here {' and '.join(ours[0])} on {ours[1]}"
        if number in self.different:
            return False, self.different[number]
        if number in self.unverified:
            return UNVERIFIED, self.unverified[number]
        return self.comparable, self.remark


@cache
def references() -> dict[str, Reference]:
    """All columns by name."""
    content = yaml.safe_load((files("vltk.eval") / "references.yaml").read_text(encoding="utf-8"))
    return {name: Reference(**said) for name, said in content["references"].items()}


def published(number: str, protocol: str = "flava") -> list[Published]:
    """What has been published for a number of the table."""
    found = []
    for name, one in references().items():
        if number in one.values:
            comparable, remark = one.doubt(number, protocol)
            found.append(Published(name, one.title, one.values[number], one.source, comparable, one.memory, remark))
    return found


def _measured(number: str, protocol: str) -> tuple[list[str], str]:
    """The metrics and the split of a number."""
    for task, headline in headlines(protocol).items():
        parts = headline.parts(task)
        if number in parts:
            return parts[number], headline.split
    raise KeyError(number)
