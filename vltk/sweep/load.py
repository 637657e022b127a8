"""Reads a sweep file: every variant as a checked recipe, every mistake at once with its file and line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from vltk import recipe as recipes
from vltk.errors import Missing, RecipeError
from vltk.parts import GLANCE
from vltk.recipe import Recipe
from vltk.recipe_files import Reader, Tree, locate, merge, nested, shown, sweeps
from vltk.recipe_layers import Setting, parse, values
from vltk.strict import problems, suggest
from vltk.sweep.schema import SweepOptions

_WORD = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class Sweep:
    """A checked sweep: what it says, and each variant as a recipe, still with the recipe's own seeds."""

    name: str
    path: Path
    options: SweepOptions
    variants: dict[str, Recipe]
    tree: Tree

    def origin(self, *keys: str) -> str:
        """Where a key of the sweep was written; of one that was not, where what it belongs to was."""
        return self.tree.reach(keys)[1].origin

    def recipe(self, variant: str, seed: int) -> Recipe:
        """The recipe of one run: the seed in the stages that take it, a name below the sweep's."""
        stages = {
            name: stage.model_copy(update={"seed": seed}) if self.varies(name) else stage
            for name, stage in self.variants[variant].stages.items()
        }
        return replace(self.variants[variant], name=f"{self.name}/{variant}-{seed}", stages=stages)

    def varies(self, stage: str) -> bool:
        return self.options.vary is None or stage in self.options.vary


def load(name: str | Path, overrides: Sequence[str] = ()) -> Sweep:
    """The sweep of this path or name. RecipeError says every mistake, of itself and of each variant.

    overrides: `key=value` with keys of the sweep (seeds, variants.x, name), or of the recipe, for every variant.
    """
    return _load(str(name), overrides, None)


def glance(name: str | Path, overrides: Sequence[str] = ()) -> Sweep:
    """`load` without importing any part; what else is wrong is said by `load`."""
    return _load(str(name), overrides, GLANCE)


def _load(name: str, overrides: Sequence[str], context: Any) -> Sweep:
    path = locate(name)
    reader = Reader()
    tree, settings = reader.file(path), list(parse(overrides, reader))
    if reader.unread:
        raise RecipeError(reader.problems)
    if "sweep" not in tree.value:
        have = ", ".join(sweeps()) or "none"
        raise RecipeError(f"{shown(path)}: a recipe, not a sweep: it has no key 'sweep'; have the sweeps: {have}")
    own = [(keys, value) for keys, value, _ in settings if keys[0] in SweepOptions.model_fields]
    for keys, value in own:
        tree = merge(tree, nested(keys, value))
    wrong = reader.problems + list(_unsaid(tree))
    options = _options(tree, wrong)
    wrong += [] if wrong else _names(options, tree)  # a name that is missing would be said twice
    everyone = [setting for setting in settings if setting[0][0] not in SweepOptions.model_fields]
    base = _base(options.sweep, path, tree, wrong)
    trees = {variant: tree.value["variants"].value[variant] for variant in options.variants}
    made = _variants(base, path, tree.child("common"), trees, everyone, context, wrong)
    sweep = Sweep(options.name or path.stem, path, options, made, tree)
    wrong += _mistakes(sweep)
    if not wrong and context is None:  # what parts say is known
        wrong += _same_runs(sweep)
    if wrong:
        raise RecipeError(wrong)
    return sweep


def _unsaid(tree: Tree) -> Iterator[str]:
    """Names under which nothing stands."""
    for group in ("variants", "measure"):
        for name, child in _items(tree.child(group)):
            if child.value is None and not child.over:
                told = "; without overrides, write {}" if group == "variants" else ""
                yield f"{child.origin}: {group}.{name}: nothing stands there{told}"


def _options(tree: Tree, wrong: list[str]) -> SweepOptions:
    """What the file says, against the schema; raises with all that is wrong."""
    try:
        return SweepOptions.model_validate(tree.plain())
    except ValidationError as error:
        for loc, text in problems(error):
            done, place = tree.reach(loc)
            keys = done if done and not text.startswith("required") else loc
            wrong.append(f"{place.origin}: {'.'.join(map(str, keys))}: {text}")
    raise RecipeError(wrong)


def _names(options: SweepOptions, tree: Tree) -> Iterator[str]:
    """Names that make folders, and the baseline, which is one of them."""
    for variant in options.variants:
        if not _WORD.fullmatch(variant):
            yield f"{tree.reach(('variants', variant))[1].origin}: variants.{variant}: should be a word for a folder"
    if options.name is not None and not _WORD.fullmatch(options.name):
        yield f"{tree.reach(('name',))[1].origin}: name: should be a word for a folder, given {options.name!r}"
    if options.baseline is not None and options.baseline not in options.variants:
        said = f"no variant '{options.baseline}'{suggest(options.baseline, options.variants)}"
        yield f"{tree.reach(('baseline',))[1].origin}: baseline: {said}"


def _base(name: str, path: Path, tree: Tree, wrong: list[str]) -> tuple[Path, Tree]:
    """The recipe that is varied: beside the sweep, or by path or name as `vltk train` finds it."""
    near, origin = path.parent / name, tree.value["sweep"].origin
    try:
        place = near if near.is_file() else locate(name)
    except RecipeError as error:
        raise RecipeError([*wrong, f"{origin}: sweep: {error}"]) from None
    reader = Reader()
    found = reader.file(place)
    wrong += reader.problems
    if "sweep" in found.value:
        wrong.append(f"{origin}: sweep: '{name}' is a sweep itself; name a recipe")
    if reader.unread or "sweep" in found.value:
        raise RecipeError(wrong)
    return place, found


def _variants(
    base: tuple[Path, Tree],
    path: Path,
    common: Tree | None,
    trees: dict[str, Tree],
    everyone: list[Setting],
    context: Any,
    wrong: list[str],
) -> dict[str, Recipe]:
    """Each variant as a recipe; raises with the mistakes of all, each once, with the variants that it is in."""
    made: dict[str, Recipe] = {}
    found: dict[str, list[str]] = {}
    for variant, own in trees.items():
        reader = Reader()
        settings = [*_settings(common, path, reader), *_settings(own, path, reader), *everyone]
        try:
            if reader.unread:  # what follows from a file that is not there is noise
                raise RecipeError(reader.problems)
            made[variant] = recipes.compose(*base, settings, reader.problems, context)
        except RecipeError as error:
            for problem in error.problems:
                found.setdefault(problem, []).append(variant)
    if found:
        raise RecipeError([*wrong, *in_variants(found, trees)])
    return made


def in_variants(found: dict[str, list[str]], variants: Iterable[str]) -> list[str]:
    """The problems, each with the variants that have it, unless all have it."""
    count = len(list(variants))
    return [
        problem if len(names) == count else f"{problem}  (in the variant {', '.join(names)})"
        for problem, names in found.items()
    ]


def _settings(tree: Tree | None, path: Path, reader: Reader) -> Iterator[Setting]:
    """A mapping of overrides as settings: keys for every stage first, then those of one stage.

    A stage with an `include` is another stage: it stands in the place of the recipe's, over the keys of all stages.
    """
    if tree is None or not isinstance(tree.value, dict):
        return
    later: list[Setting] = []
    for key, child in reader.opened(tree, path).value.items():
        keys = key.split(".")
        if keys == ["stages"]:
            later += [(["stages", name], _stage(own, path, reader), False) for name, own in _items(child)]
        elif keys[0] == "stages":
            later.append((keys, child, False))
        else:
            yield from ((*setting, False) for setting in values(child, keys))
    yield from later


def _stage(tree: Tree, path: Path, reader: Reader) -> Tree:
    if tree.child("include") is None:
        return tree
    return replace(reader.opened(tree, path, stage=True), instead=True)


def _items(tree: Tree | None) -> list[tuple[str, Tree]]:
    return list(tree.value.items()) if tree is not None and isinstance(tree.value, dict) else []


def _mistakes(sweep: Sweep) -> Iterator[str]:
    """What shows only when the stages of the variants are known."""
    stages = {name for recipe in sweep.variants.values() for name in recipe.stages}
    for name in sweep.options.vary or []:
        if name not in stages:
            yield f"{sweep.origin('vary')}: vary: no stage '{name}'{suggest(name, stages)}"
    for heading, measure in sweep.options.measure.items():
        if measure.stage is not None and measure.stage not in stages:
            said = f"no stage '{measure.stage}'{suggest(measure.stage, stages)}"
            yield f"{sweep.origin('measure', heading, 'stage')}: measure.{heading}.stage: {said}"
    yield from dict.fromkeys(_own_seeds(sweep))


def _own_seeds(sweep: Sweep) -> Iterator[str]:
    """Seeds that a variant or the command line gives to stages whose seed is the sweep's."""
    for recipe in sweep.variants.values():
        for stage in filter(sweep.varies, recipe.stages):
            origin = recipe.origins.get(("stages", stage, "seed"), "")
            if origin.startswith(("command line", f"{shown(sweep.path)}:")):
                yield f"{origin}: seed: stage '{stage}' takes the `seeds` of the sweep; leave it out, or see `vary`"


def _same_runs(sweep: Sweep) -> Iterator[str]:
    """Variants that no seed changes: their runs would be one, and their spread none."""
    from vltk.sweep.plan import keys_of

    if len(sweep.options.seeds) < 2:
        return
    first, second, *_ = sweep.options.seeds
    for variant, recipe in sweep.variants.items():
        last = list(recipe.stages)[-1]
        if keys_of(sweep.recipe(variant, first))[last] == keys_of(sweep.recipe(variant, second))[last]:
            yield (
                f"{sweep.origin('variants', variant)}: variants.{variant}: seeds {first} and {second} train the same "
                f"stage '{last}': no stage that it depends on is in `vary`"
            )


def require_data(sweep: Sweep) -> None:
    """Raises Missing with all that any variant or any measure reads and the data folder lacks."""
    from vltk import needs
    from vltk.sweep.measure import absent

    steps = dict.fromkeys(step for recipe in sweep.variants.values() for step in needs.missing_data(recipe))
    if steps := steps | dict.fromkeys(absent(sweep)):
        raise Missing(f"{sweep.name} needs data that is not there; missing:", steps)
