"""Recipes: `load` reads one with what it includes and reports every mistake at once with its file and line."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from vltk.errors import RecipeError
from vltk.parts import GLANCE, Choice
from vltk.recipe_files import (
    COMMANDS,
    Loc,
    Reader,
    Tree,
    available,
    headline,
    is_job,
    is_sweep,
    is_whole,
    jobs,
    locate,
    shown,
    sweeps,
)
from vltk.recipe_layers import Layers, Setting, check_entries, parse, split
from vltk.recipe_schema import (
    Checkpoints,
    Evaluate,
    Faults,
    ImageOptions,
    Loader,
    Optimizer,
    Stage,
    Stream,
    TokenizerOptions,
)
from vltk.strict import Strict, problems

__all__ = [
    "Checkpoints",
    "Choice",
    "Evaluate",
    "Faults",
    "ImageOptions",
    "Loader",
    "Optimizer",
    "Recipe",
    "RecipeError",
    "Stage",
    "Stream",
    "Strict",
    "TokenizerOptions",
    "available",
    "compose",
    "describe",
    "glance",
    "headline",
    "is_job",
    "is_sweep",
    "is_whole",
    "jobs",
    "load",
    "load_resolved",
    "locate",
    "plain",
    "sweeps",
    "worded",
]


Found = dict[tuple[str, str, str], list[str]]  # mistakes: origin, key, what is wrong -> the stages that have it


@dataclass(frozen=True)
class Recipe:
    """A checked recipe: its stages in order, and where each value was written (keys -> `file:line`)."""

    name: str
    path: Path
    stages: dict[str, Stage]
    origins: dict[Loc, str]
    trees: dict[str, Tree]
    overrides: tuple[str, ...] = ()  # as they were typed

    def origin(self, stage: str, loc: Loc) -> str:
        """Where a value of a stage was written; of a default, where what it belongs to was."""
        places = (("stages", stage, *loc[:length]) for length in range(len(loc), 0, -1))
        return next((self.origins[place] for place in places if place in self.origins), shown(self.path))

    def resolved(self) -> dict[str, Any]:
        """The recipe as plain data, defaults included."""
        return {"name": self.name, "stages": {name: plain(stage) for name, stage in self.stages.items()}}


def load(name: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe of this path or name under `key=value` overrides; RecipeError says every mistake."""
    return _load(str(name), overrides, None)


def glance(name: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """`load` without importing any part: names are checked, options of parts are left out. For what must be quick."""
    return _load(str(name), overrides, GLANCE)


def load_resolved(path: Path) -> Stage:
    """The stage that a run folder's recipe.yaml holds."""
    reader = Reader()
    tree = reader.file(path)
    if reader.problems:
        raise RecipeError(reader.problems)
    layers = Layers("", {"": tree})
    stages = _validate(layers, None)
    return stages[""]


def plain(stage: Stage) -> dict[str, Any]:
    """A stage as YAML can write it, defaults included; `load_resolved` reads it back equal."""
    return stage.model_dump(mode="json")


def describe(recipe: Recipe) -> list[str]:
    """The resolved recipe as lines of YAML, each value with the place it comes from."""
    return list(_lines(recipe.resolved(), recipe, (), 0))


def _load(name: str, overrides: Sequence[str], context: Any) -> Recipe:
    path = locate(name)
    reader = Reader()
    tree, settings = reader.file(path), list(parse(overrides, reader))
    if (sweep := tree.child("sweep")) is not None:
        raise RecipeError(f"{sweep.origin}: sweep: this is a sweep, many runs of a recipe: vltk sweep {name}")
    if (kind := tree.child("kind")) is not None and kind.value in COMMANDS:
        raise RecipeError(f"{kind.origin}: kind: this trains nothing by itself: {COMMANDS[kind.value]} {name}")
    if reader.unread:
        raise RecipeError(reader.problems)
    return replace(compose(path, tree, settings, reader.problems, context), overrides=tuple(overrides))


def compose(
    path: Path, tree: Tree, settings: Iterable[Setting], problems: Iterable[str] = (), context: Any = None
) -> Recipe:
    """The recipe that the tree of the file `path` is under settings; RecipeError adds its mistakes to `problems`."""
    layers = split(tree, path.stem)
    for keys, value, everyone in settings:
        layers.override(keys, value, lambda tree: _lacking(tree, context), everyone)
    if not layers.stages and not layers.problems:
        layers.problems.append(f"{shown(path)}: stages: none is left")
    layers.problems = [*problems, *layers.problems, *check_entries(layers.stages)]
    stages = _validate(layers, context)
    origins: dict[Loc, str] = {}
    for stage, own in layers.stages.items():
        origins |= {("stages", stage, *loc): child.origin for loc, child in own.walk()}
    return Recipe(layers.name, path, stages, origins, layers.stages)


def _validate(layers: Layers, context: Any) -> dict[str, Stage]:
    """Every stage against the schema; raises with all mistakes, each once."""
    made: dict[str, Stage] = {}
    found: Found = {}
    for name, tree in layers.stages.items():
        try:
            made[name] = Stage.model_validate(tree.plain(), context=context)
        except ValidationError as error:
            for loc, text in problems(error):
                done, place = tree.reach(loc)
                keys = done if done and not text.startswith("required") else loc
                found.setdefault((place.origin, ".".join(map(str, keys)), text), []).append(name)
    everywhere = {origin for origin, _, _ in found if len(layers.stages) == 1 or origin in layers.everywhere}
    layers.problems += worded(found, everywhere)
    if layers.problems:
        raise RecipeError(sorted(layers.problems, key=_place))
    return made


def worded(found: Found, everywhere: Collection[str] = ()) -> list[str]:
    """`origin: key: what`, sorted by origin; the key names its stage unless several share the mistake.

    everywhere: origins at which no stage needs to be named.
    """
    lines = []
    for (origin, key, text), stages in found.items():
        shared = len(stages) > 1 or origin in everywhere
        lines.append(f"{origin}: {key if shared else f'stages.{stages[0]}.{key}'}: {text}")
    return sorted(lines, key=_place)


def _place(problem: str) -> tuple[str, int]:
    """File and line, to sort by; the command line comes first, as it was typed."""
    place = re.match(r"(\S+?):(\d+): ", problem)
    return (place[1], int(place[2])) if place else ("", 0)


def _lacking(tree: Tree, context: Any) -> set[str]:
    """The unknown and the missing keys of a stage, as text."""
    try:
        Stage.model_validate(tree.plain(), context=context)
    except ValidationError as error:
        kinds = ("unknown_key", "unknown_part", "no_part", "missing")
        return {f"{item['type']} {item['loc']}" for item in error.errors() if item["type"] in kinds}
    return set()


def _lines(value: Any, recipe: Recipe, loc: Loc, depth: int) -> list[str]:
    """One line a key, the origin as a comment; what no file says is marked as a default."""
    lines: list[str] = []
    for key, child in value.items():
        here = (*loc, key)
        head = f"{'  ' * depth}{_scalar(key)}:"
        if isinstance(child, dict) and child:
            lines += [head, *_lines(child, recipe, here, depth + 1)]
            continue
        lines.append(f"{head} {_scalar(child)}".ljust(56) + f"  # {_origin(recipe, here)}")
    return lines


def _origin(recipe: Recipe, loc: Loc) -> str:
    """Where a value was written; a part given by its name alone stands where its key does."""
    if loc == ("name",):
        return shown(recipe.path)
    written = recipe.origins.get(loc[:-1]) if loc[-1] == "part" else None
    return recipe.origins.get(loc, written or "default")


def _scalar(value: Any) -> str:
    """A value in one line of YAML."""
    text: str = yaml.safe_dump([value], default_flow_style=True, width=1_000_000, sort_keys=False)
    return text.strip()[1:-1]
