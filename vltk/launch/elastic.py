"""How many processes can share the work of a recipe: the batch of every stream is cut into equal parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vltk.errors import RecipeError, VltkError
from vltk.recipe import Recipe, glance


def misfits(recipe: Recipe, world: int) -> RecipeError | None:
    """What is wrong with so many processes; None where every stream can be shared equally."""
    near = sorted({_down(recipe, world), _up(recipe, world)} - {0})
    hint = f"; {' or '.join(map(str, near))} processes would do" if near else ""
    problems = [
        f"{recipe.origin(name, ('streams', stream, 'batch_size'))}: streams.{stream}.batch_size: {size} cannot be "
        f"shared equally by {world} processes{hint}"
        for name, stream, size in _sizes(recipe)
        if size % world
    ]
    return RecipeError(problems) if problems else None


def fewer(recipe: Recipe, before: int, left: int) -> tuple[int, list[str]]:
    """With `left` processes instead of `before`: how many of them can share the work, and the overrides with which the
    global batch stays and no process holds more samples at a time than before.

    Raises VltkError where none is left.
    """
    world = _down(recipe, left)
    if world == 0:
        raise VltkError("no process is left that could go on")
    return world, [
        f"stages.{name}.micro_batch={max(1, max(stream.batch_size for stream in stage.streams.values()) // before)}"
        for name, stage in recipe.stages.items()
        if world < before and stage.micro_batch is None
    ]


def sharing(name: str, overrides: Sequence[str]) -> Callable[[int, int], tuple[int, list[str]]]:
    """`fewer`, of a recipe by path or name."""
    return lambda before, left: fewer(glance(name, overrides), before, left)


def _sizes(recipe: Recipe) -> list[tuple[str, str, int]]:
    return [
        (name, key, stream.batch_size) for name, stage in recipe.stages.items() for key, stream in stage.streams.items()
    ]


def _down(recipe: Recipe, most: int) -> int:
    """The largest number of processes up to `most` that every batch can be shared by; 0 where there is none."""
    return next((n for n in range(most, 0, -1) if all(size % n == 0 for _, _, size in _sizes(recipe))), 0)


def _up(recipe: Recipe, least: int) -> int:
    """The smallest from `least` on; 0 where there is none."""
    sizes = [size for _, _, size in _sizes(recipe)]
    return next((n for n in range(least, min(sizes) + 1) if all(size % n == 0 for size in sizes)), 0)
