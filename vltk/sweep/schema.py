"""What a sweep file may say, beside the overrides of its variants, which are checked as recipes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, NonNegativeInt
from pydantic_core import PydanticCustomError

from vltk.strict import Strict


class Measure(Strict):
    """A column of the table."""

    metric: str  # "TASK METRIC": a task that the stage evaluates while it trains, or one as `vltk eval --tasks` takes
    at: Literal["weights", "best", "last"] = "weights"  # of the finished weights, the best ever, that of the last step
    stage: str | None = None  # whose result it is; null: that of the last stage


def _named(value: Any) -> Any:
    return {"metric": value} if isinstance(value, str) else value


def _different(seeds: list[int]) -> list[int]:
    if len(set(seeds)) < len(seeds):
        raise PydanticCustomError("seeds", "a seed should stand there once")
    return seeds


class SweepOptions(Strict):
    """Variants of a recipe, each trained with every seed, and what is compared."""

    sweep: str  # the recipe that is varied
    name: str | None = None  # runs/NAME/; null: the name of the file
    seeds: Annotated[list[NonNegativeInt], Field(min_length=1), AfterValidator(_different)]
    vary: Annotated[list[str], Field(min_length=1)] | None = None  # stages that take the seed; null: all of them
    baseline: str | None = None  # the variant that the others are compared with, seed by seed
    measure: Annotated[
        dict[str, Annotated[Measure, BeforeValidator(_named)]], Field(min_length=1)
    ]  # columns of the table by their headings
    common: dict[str, Any] = {}  # overrides of every variant
    variants: Annotated[dict[str, dict[str, Any]], Field(min_length=1)]  # overrides by the variant's name
