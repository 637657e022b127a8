"""What a rule is asked and answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol

from pydantic import Discriminator, Field, Tag

from vltk.errors import RecipeError, VltkError

Score = Literal["itm", "itc", "logprob"]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(gt=0)]
Shares = Annotated[  # told apart first, so that a wrong one is one mistake
    Annotated[Share, Tag("one")] | Annotated[dict[str, Share], Tag("each")],
    Discriminator(lambda given: "each" if isinstance(given, dict) else "one"),
]
WEB, GENERATED, HUMAN = "web", "generated", "human"  # sources of texts


@dataclass(frozen=True)
class Scored:
    """A text that passed the gates. `itm`: probability of a match; `itc`: cosine; `logprob`: mean of its tokens', where
    it was generated. None where there is no such score."""

    source: str
    itm: float | None
    itc: float | None
    logprob: float | None

    def score(self, by: str) -> float:
        """Raises VltkError where it has none."""
        value: float | None = getattr(self, by)
        if value is None:
            raise VltkError(f"a {self.source} text has no score {by}, by which `select` chooses")
        return value


Decision = tuple[bool, str]  # kept, and why
Decide = Callable[[Sequence[Scored]], list[Decision]]  # the texts of one image -> a decision each
Values = Mapping[str, Sequence[float]]  # by source, the scores of all texts that passed the gates; read when looked at


class Rule(Protocol):
    """A part of capfilt/rules. `by`: the score that it reads, None where it reads none."""

    @property
    def by(self) -> str | None: ...

    def fit(self, values: Values) -> Decide:
        """The rule for this job, whose texts have these scores."""


def by_source(given: Any, what: str) -> Mapping[str, float]:
    """One number for every source, or one for each by its name. Raises RecipeError for others."""
    if not isinstance(given, dict):
        return dict.fromkeys((WEB, GENERATED), float(given))
    if lacking := {WEB, GENERATED} - given.keys():
        raise RecipeError(f"{what}: nothing is said of {', '.join(sorted(lacking))}; have: {', '.join(given)}")
    if unknown := given.keys() - {WEB, GENERATED}:
        raise RecipeError(f"{what}: no source {', '.join(sorted(unknown))}; have: {WEB}, {GENERATED}")
    return {name: float(value) for name, value in given.items()}
