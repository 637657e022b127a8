"""From one recipe tree to the tree of each stage: defaults of all stages below, the command line on top."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from vltk.errors import RecipeError
from vltk.recipe_files import Loc, Reader, Tree, locate, merge, nested
from vltk.strict import short, suggest

Setting = tuple[list[str], Tree, bool]  # keys, value, whether it is left out where no stage knows the keys
Lacking = Callable[[Tree], set[str]]  # the unknown and the missing keys of a stage's tree

_WORD = re.compile(r"[A-Za-z0-9_-]+")
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)?")  # SWEEP/RUN has a slash


@dataclass
class Layers:
    """The stages of a recipe while they are put together, and the mistakes met on the way."""

    name: str
    stages: dict[str, Tree]
    problems: list[str] = field(default_factory=list)
    everywhere: set[str] = field(default_factory=set)  # origins of what was set without naming a stage
    top: Tree | None = None  # the keys that the file gives to all stages

    def override(self, keys: list[str], tree: Tree, lacking: Lacking, everyone: bool = False) -> None:
        """Set a key: of the stage it names, or of every stage that knows it.

        everyone: the key comes from a file for any recipe (debug.yaml); where no stage knows it, it is left out.
        """
        if keys[0] == "name":
            self.rename(tree)
        elif keys[0] == "stages":
            self._override_stage(keys[1:], tree)
        else:
            self.everywhere.add(tree.origin)
            self._override_all(keys, tree, lacking, everyone)

    def rename(self, tree: Tree) -> None:
        """The name of the recipe, which is the name of its run folder."""
        if isinstance(tree.value, str) and _NAME.fullmatch(tree.value):
            self.name = tree.value
        else:
            self.problems.append(f"{tree.origin}: name: should be a word for a folder, given {short(tree.plain())}")

    def _override_stage(self, keys: list[str], tree: Tree) -> None:
        stage = keys[0] if keys else ""
        if stage not in self.stages:
            self.problems.append(f"{tree.origin}: stages.{stage}: no such stage{suggest(stage, self.stages)}")
        elif len(keys) == 1 and tree.value is None:
            del self.stages[stage]
        elif tree.instead and self.top is not None:
            self.stages[stage] = merge(self.top, tree)
        else:
            self.stages[stage] = merge(self.stages[stage], nested(keys[1:], tree))

    def _override_all(self, keys: list[str], tree: Tree, lacking: Lacking, everyone: bool) -> None:
        """Stages that do not know the key stay as they are; known to none, the nearest one takes it and reports it."""
        fitting = [name for name, stage in self.stages.items() if _fits(stage, keys, tree, lacking)]
        if not fitting and everyone:
            return
        if not fitting and tree.value is None:
            have = {key for stage in self.stages.values() for key in _beside(stage, keys)}
            self.problems.append(f"{tree.origin}: {'.'.join(keys)}: nothing to take out{suggest(keys[-1], have)}")
            return
        nearest = max(self.stages, key=lambda name: len(self.stages[name].reach(tuple(keys))[0]), default=None)
        for name in fitting or ([nearest] if nearest else []):
            self.stages[name] = merge(self.stages[name], nested(keys, tree))


def split(tree: Tree, name: str) -> Layers:
    """The stages of a recipe file, each over the keys that the file gives to all; one called `train` if it has none."""
    top = Tree({key: child for key, child in tree.value.items() if key not in ("name", "stages")}, tree.origin)
    layers = Layers(name, {}, top=top)
    if "name" in tree.value:
        layers.rename(tree.value["name"])
    stages = tree.value.get("stages")
    if stages is None:
        layers.stages["train"] = top
    elif not isinstance(stages.value, dict) or not stages.value:
        layers.problems.append(f"{stages.origin}: stages: should be name: {{keys}}, given {short(stages.plain())}")
    else:
        for stage, own in stages.value.items():
            _add(layers, stage, top, own)
    return layers


def parse(overrides: Sequence[str], reader: Reader) -> Iterator[Setting]:
    """The command line's `key=value` as keys, value, False; `include=FILE` as every single value of that file, True."""
    for item in overrides:
        origin = f"command line '{item}'"
        key, equals, text = item.partition("=")
        keys = key.split(".")
        if not equals or not all(keys):
            reader.problems.append(f"{origin}: should be key=value, as optimizer.lr=5e-4")
        elif keys == ["include"]:
            yield from ((*setting, True) for setting in _file(text, origin, reader))
        else:
            yield keys, reader.text(text, origin), False


def said(tree: Tree, reader: Reader) -> Iterator[Setting]:
    """A mapping in a file, as `{steps: 100, optimizer: {lr: 1e-4}}`, as what `parse` makes of the command line."""
    for key, child in tree.value.items():
        if key == "include":
            yield from ((*setting, True) for setting in _file(str(child.plain()), child.origin, reader))
        else:
            yield from ((*setting, False) for setting in values(child, key.split(".")))


def check_entries(stages: dict[str, Tree]) -> Iterator[str]:
    """What no schema sees: an `init` or `frozen` that names no earlier stage, a null that takes nothing out."""
    earlier: list[str] = []
    for name, stage in stages.items():
        for loc, tree in stage.walk():
            where = f"{tree.origin}: stages.{name}.{'.'.join(map(str, loc))}"
            if tree.value is None and not tree.over and is_entry(loc):
                yield f"{where}: null takes out an inherited entry, and there is none; without options, write {{}}"
            elif len(loc) == 2 and loc[0] in ("init", "frozen") and isinstance(tree.value, str):
                word, at, step = tree.value.partition("@")
                if at and not set(word) & {"/", "."} and not step.isdecimal():
                    yield f"{where}: what follows @ is a step, a number; given: {short(step)}"
                elif not set(word) & {"/", "."} and word not in earlier:
                    late = "comes later" if word in stages else "does not exist"
                    yield f"{where}: stage '{word}' {late}{suggest(word, earlier)}; a run is a path: runs/{word}"
        earlier.append(name)


def is_entry(loc: Loc) -> bool:
    """Whether these keys of a stage end in a name that the recipe's writer chose: a stream, an objective, a task."""
    length = {"init": 2, "frozen": 2, "streams": 2, "evaluate": 3}.get(str(loc[0])) if loc else None
    return len(loc) == length or (len(loc) == 4 and loc[0] == "streams" and loc[2] == "objectives")


def _add(layers: Layers, stage: str, top: Tree, own: Tree) -> None:
    if not _WORD.fullmatch(stage):
        layers.problems.append(f"{own.origin}: stages.{stage}: the name of a stage is one word of letters, digits, - _")
    elif isinstance(own.value, dict):
        layers.stages[stage] = merge(top, own)
    elif own.value is not None:
        layers.problems.append(f"{own.origin}: stages.{stage}: should be a mapping, given {short(own.plain())}")


def _file(name: str, origin: str, reader: Reader) -> Iterator[tuple[list[str], Tree]]:
    try:
        path = locate(name)
    except RecipeError as error:
        reader.problems += [f"{origin}: {problem}" for problem in error.problems]
        return
    tree = reader.file(path)
    yield from values(Tree({key: child for key, child in tree.value.items() if key != "name"}, tree.origin), [])


def values(tree: Tree, keys: list[str]) -> Iterator[tuple[list[str], Tree]]:
    """Every single value; a part with its options is one."""
    if isinstance(tree.value, dict) and (not keys or (tree.value and "part" not in tree.value)):
        for key, child in tree.value.items():
            yield from values(child, [*keys, key])
    else:
        yield keys, tree


def _fits(stage: Tree, keys: list[str], tree: Tree, lacking: Lacking) -> bool:
    """Whether the stage knows this key: setting it brings no unknown key and no half-made entry."""
    if len(stage.reach(tuple(keys))[0]) == len(keys):
        return True
    if tree.value is None and is_entry(tuple(keys)):
        return False
    tried = Tree({}, tree.origin) if tree.value is None else tree
    return lacking(merge(stage, nested(keys, tried))) <= lacking(stage)


def _beside(stage: Tree, keys: list[str]) -> list[str]:
    done, tree = stage.reach(tuple(keys[:-1]))
    return list(tree.value) if len(done) == len(keys) - 1 and isinstance(tree.value, dict) else []
