"""What the command line does with sweeps. Heavy imports stay inside functions: missing data is said in seconds."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vltk.errors import RecipeError, VltkError

if TYPE_CHECKING:
    from vltk.sweep.load import Sweep


def train(name: str, overrides: Sequence[str] = (), jobs: int | None = None, redo: bool = False) -> None:
    """Trains and measures every run of the sweep that is not finished, and writes the table.

    Raises Missing, RecipeError, VltkError, Stopped.
    """
    from vltk.sweep import load

    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise VltkError("vltk sweep starts the processes of its runs itself: start it once, without a launcher")
    load.require_data(load.glance(name, overrides))
    from vltk.sweep.plan import plan
    from vltk.sweep.schedule import train as work

    work(plan(_checked(name, overrides)), jobs=jobs, redo=redo)


def show(name: str, overrides: Sequence[str] = (), table: bool = False) -> None:
    """Prints what would be trained, once all that `train` refuses is checked; or the table of what is there."""
    from vltk.log import console, say
    from vltk.sweep import load, show
    from vltk.sweep.plan import plan
    from vltk.sweep.table import printed, summarise

    if table:
        console.print(printed(summarise(plan(load.load(name, overrides)))))
    else:
        say("\n".join(show.runs(plan(_checked(name, overrides)))))


def is_one(name: str) -> bool:
    """Whether the file of this path or name is a sweep, and no recipe."""
    from vltk.recipe_files import is_sweep, locate

    return is_sweep(locate(name))


def describe(name: str, arguments: Sequence[str] = ()) -> list[str]:
    """The sweep as lines of YAML, or the recipe of one variant: the argument that is no `key=value`."""
    from vltk.recipe import describe as described
    from vltk.strict import suggest
    from vltk.sweep import load, show

    wanted = [argument for argument in arguments if "=" not in argument]
    sweep = load.load(name, [argument for argument in arguments if "=" in argument])
    if not wanted:
        return show.describe(sweep)
    if wanted[0] not in sweep.variants:
        raise RecipeError(f"{name}: no variant '{wanted[0]}'{suggest(wanted[0], sweep.variants)}")
    return described(sweep.variants[wanted[0]])


def check(name: str, overrides: Sequence[str] = ()) -> str:
    """What to say of a sweep without mistakes. Raises RecipeError with those of every variant."""
    sweep = _checked(name, overrides)
    runs = len(sweep.variants) * len(sweep.options.seeds)
    return f"{sweep.path}: no mistakes; variants: {', '.join(sweep.variants)}; {runs} runs"


def _checked(name: str, overrides: Sequence[str]) -> Sweep:
    """The sweep, its measures and every variant checked as `vltk recipe check` does."""
    from vltk.sweep import load, measure
    from vltk.train.check import check_stages

    sweep = load.load(name, overrides)
    measure.check(sweep)
    found: dict[str, list[str]] = {}
    for variant, recipe in sweep.variants.items():
        try:
            check_stages(recipe)
        except RecipeError as error:
            for problem in error.problems:
                found.setdefault(problem, []).append(variant)
    if found:
        raise RecipeError(load.in_variants(found, sweep.variants))
    return sweep
