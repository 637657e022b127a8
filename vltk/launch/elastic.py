"""How many processes can share the work of a recipe: the batch of every stream is cut into equal parts, and no group of
samples is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from vltk.errors import RecipeError, VltkError
from vltk.recipe import Recipe, Stage, Stream, load


def misfits(recipe: Recipe, world: int) -> RecipeError | None:
    """What is wrong with so many processes; None where every stream can be shared equally."""
    near = sorted({_down(recipe, world), _up(recipe, world)} - {0})
    hint = f"; {' or '.join(map(str, near))} processes would do" if near else ""
    problems = [
        f"{recipe.origin(name, ('streams', key, 'batch_size'))}: streams.{key}.batch_size: {stream.batch_size} cannot "
        f"be shared equally by {world} processes{_groups(stream)}{hint}"
        for name, key, stream in _streams(recipe)
        if not _shares(stream, world)
    ]
    return RecipeError(problems) if problems else None


def fewer(recipe: Recipe, before: int, left: int) -> tuple[int, list[str]]:
    """With `left` processes instead of `before`: how many of them can share the work, and the overrides with which the
    global batch stays and no process holds more samples of a stream at a time than before.

    Raises VltkError where none is left.
    """
    world = _down(recipe, left)
    if world == 0:
        raise VltkError("no process is left that could go on")
    if world >= before:
        return world, []
    sizes = {name: _micro_batch(stage, before, world) for name, stage in recipe.stages.items()}
    return world, [
        f"stages.{name}.micro_batch={size}" for name, size in sizes.items() if size != recipe.stages[name].micro_batch
    ]


def sharing(name: str, overrides: Sequence[str]) -> Callable[[int, int], tuple[int, list[str]]]:
    """`fewer`, of a recipe by path or name."""
    return lambda before, left: fewer(load(name, overrides), before, left)


def _micro_batch(stage: Stage, before: int, world: int) -> int:
    """The largest that cuts no group, with which no stream holds more samples than `before` processes did; the smallest
    that cuts none, where all hold more."""
    streams = stage.streams.values()
    held = [max(_parts(stream, before, stage.micro_batch)) for stream in streams]
    most = max(stream.batch_size // world for stream in streams)
    ways = {size: [_parts(stream, world, size) for stream in streams] for size in range(1, most + 1)}
    able = [
        size
        for size, every in ways.items()
        if all(part % stream.group == 0 for stream, parts in zip(streams, every, strict=True) for part in parts)
    ]
    kept = [size for size in able if all(max(parts) <= limit for parts, limit in zip(ways[size], held, strict=True))]
    chosen = ways[max(kept) if kept else min(able)]
    return max(max(parts) for parts in chosen)


def _parts(stream: Stream, world: int, micro_batch: int | None) -> set[int]:
    """The sizes of a process's micro-batches (see `vltk.data.stream.slices_of`)."""
    local = stream.batch_size // world
    count = -(-local // min(micro_batch or local, local))
    return {local * (part + 1) // count - local * part // count for part in range(count)}


def _groups(stream: Stream) -> str:
    return f" in groups of {stream.group}" if stream.group > 1 else ""


def _shares(stream: Stream, world: int) -> bool:
    return stream.batch_size % (world * stream.group) == 0


def _streams(recipe: Recipe) -> Iterator[tuple[str, str, Stream]]:
    for name, stage in recipe.stages.items():
        yield from ((name, key, stream) for key, stream in stage.streams.items())


def _down(recipe: Recipe, most: int) -> int:
    """The largest number of processes up to `most` that every batch can be shared by; 0 where there is none."""
    return next((n for n in range(most, 0, -1) if all(_shares(one, n) for _, _, one in _streams(recipe))), 0)


def _up(recipe: Recipe, least: int) -> int:
    """The smallest from `least` on; 0 where there is none."""
    most = min(stream.batch_size for _, _, stream in _streams(recipe))
    return next((n for n in range(least, most + 1) if all(_shares(one, n) for _, _, one in _streams(recipe))), 0)
