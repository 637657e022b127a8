"""Which split, feature and metric stand in the table for a task, by protocol: headlines.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Literal

import yaml

from vltk.errors import RecipeError, VltkError
from vltk.strict import Strict, suggest

Group = Literal["vision", "language", "multimodal"]


class Headline(Strict):
    """`score`: one number, the mean of these metrics; `scores`: a number for each. One of the two is given."""

    group: Group
    split: str
    feature: str
    score: list[str] | None = None
    scores: list[str] | None = None

    def parts(self, task: str) -> dict[str, list[str]]:
        """The task's numbers in the table, each with the metrics whose mean it is."""
        if self.score is not None:
            return {task: self.score}
        return {f"{task} {metric}": [metric] for metric in self.scores or []}

    def numbers(self, task: str, metrics: Mapping[str, float]) -> dict[str, float]:
        """The task's numbers from its metrics. VltkError where one is missing."""
        found = {}
        for number, names in self.parts(task).items():
            if absent := [name for name in names if name not in metrics]:
                raise VltkError(f"{task}: no {', '.join(absent)} in its results; have: {', '.join(metrics) or 'none'}")
            found[number] = sum(metrics[name] for name in names) / len(names)
        return found


def protocols() -> list[str]:
    return list(_content())


@cache
def headlines(protocol: str = "flava") -> dict[str, Headline]:
    """The 35 tasks by name. RecipeError for a protocol that does not exist."""
    content = _content()
    if protocol not in content:
        raise RecipeError(f"--protocol: no protocol '{protocol}'{suggest(protocol, content)}")
    own = content[protocol]
    tasks = {name: one.model_dump() for name, one in headlines(own["like"]).items()} if "like" in own else {}
    for name, said in own["tasks"].items():
        tasks[name] = tasks.get(name, {}) | said
    return {name: Headline(**said) for name, said in tasks.items()}


@cache
def _content() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((files("vltk.eval") / "headlines.yaml").read_text(encoding="utf-8"))
    return content
