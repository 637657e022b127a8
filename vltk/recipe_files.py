"""Recipe files as trees in which every value knows its file and line: reading, finding, including, merging."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from vltk.errors import RecipeError
from vltk.strict import short, suggest

Loc = tuple[str | int, ...]
SWEEPS = "sweeps"  # the folder of sweeps below that of the recipes
COMMANDS = {
    "capfilt": "vltk capfilt run",
    "bootstrap": "vltk capfilt bootstrap",
}  # of recipes that train nothing, by kind


class _Loader(yaml.SafeLoader):
    """YAML without aliases (includes do that work here), in which 5e-4 and 5e8 are numbers."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.MarkedYAMLError(problem="aliases are not read; use include", problem_mark=mark)
        return super().compose_node(parent, index)


# YAML 1.1 wants a dot and a signed exponent in a float; people and papers write 5e-4 and 5e8.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d[\d_]*(\.[\d_]*)?|\.\d[\d_]*)[eE][-+]?\d+$"), list("-+.0123456789")
)


@dataclass(frozen=True)
class Tree:
    """A value (`dict[str, Tree]`, `list[Tree]` or a scalar) and its origin, as `recipes/flava.yaml:12`."""

    value: Any
    origin: str
    over: bool = False  # a null that stands over an inherited value
    instead: bool = False  # a stage that is put in the place of the one before, not over it

    def plain(self) -> Any:
        """The value without origins."""
        if isinstance(self.value, dict):
            return {key: child.plain() for key, child in self.value.items()}
        return [child.plain() for child in self.value] if isinstance(self.value, list) else self.value

    def child(self, key: str | int) -> Tree | None:
        """What stands at this key, if anything does."""
        if isinstance(self.value, dict):
            return self.value.get(key)
        inside = isinstance(self.value, list) and isinstance(key, int) and key < len(self.value)
        return self.value[key] if inside else None

    def reach(self, loc: Loc) -> tuple[Loc, Tree]:
        """How far the keys lead into this tree, and what stands there."""
        here, done = self, 0
        while done < len(loc) and (below := here.child(loc[done])) is not None:
            here, done = below, done + 1
        return loc[:done], here

    def walk(self, loc: Loc = ()) -> Iterator[tuple[Loc, Tree]]:
        """Every value below this one with the keys that lead to it."""
        items = self.value.items() if isinstance(self.value, dict) else ()
        for key, child in items:
            yield (*loc, key), child
            yield from child.walk((*loc, key))


def merge(below: Tree | None, above: Tree) -> Tree:
    """`above` wins: mappings key by key, anything else whole; a mapping that names another part replaces whole."""
    if below is not None and above.value is None:
        return Tree(None, above.origin, over=below.value is not None or below.over)
    if below is not None and isinstance(below.value, str) and isinstance(above.value, dict):
        below = Tree({"part": below}, below.origin)  # a part given by its name alone takes options
    if below is None or not isinstance(below.value, dict) or not isinstance(above.value, dict):
        return above
    parts = [tree.value["part"].value for tree in (below, above) if "part" in tree.value]
    if len(parts) == 2 and parts[0] != parts[1]:
        return above
    merged = {key: merge(below.value.get(key), child) for key, child in above.value.items()}
    return Tree({**below.value, **merged}, above.origin)


def stack(below: Tree | None, above: Tree) -> Tree:
    """A later file wins over an earlier one: its keys for every stage also over the earlier file's stages."""
    stages = below.child("stages") if below is not None else None
    if below is not None and stages is not None and isinstance(stages.value, dict):
        general = Tree(
            {key: child for key, child in above.value.items() if key not in ("name", "stages")}, above.origin
        )
        lifted = {name: merge(own, general) if own.value is not None else own for name, own in stages.value.items()}
        below = Tree({**below.value, "stages": Tree(lifted, stages.origin)}, below.origin)
    return merge(below, above)


def nested(keys: list[str], tree: Tree) -> Tree:
    """The tree at the end of a chain of keys."""
    for key in reversed(keys):
        tree = Tree({key: tree}, tree.origin)
    return tree


@dataclass
class Reader:
    """Reads files with what they include; collects every mistake instead of stopping at the first."""

    problems: list[str] = field(default_factory=list)
    unread: bool = False  # whether a file could not be read, so that what follows from it would be noise

    def file(self, path: Path, chain: tuple[Path, ...] = ()) -> Tree:
        """A file merged over its includes, and each of its stages over the stage's includes."""
        tree = self._parse(path)
        chain = (*chain, path.resolve())
        stages = tree.value.get("stages")
        if stages is not None and isinstance(stages.value, dict):
            read = {name: self._included(stage, path, chain, stage=True) for name, stage in stages.value.items()}
            tree = Tree({**tree.value, "stages": Tree(read, stages.origin)}, tree.origin)
        return self._included(tree, path, chain)

    def opened(self, tree: Tree, path: Path, stage: bool = False) -> Tree:
        """A mapping that stands in the file `path`, over what it includes itself."""
        return self._included(tree, path, (path.resolve(),), stage)

    def text(self, text: str, origin: str) -> Tree:
        """One YAML value of the command line."""
        return self._compose(text, origin, numbered=False)

    def _included(self, tree: Tree, path: Path, chain: tuple[Path, ...], stage: bool = False) -> Tree:
        """The tree without its `include` key, over the files that this key names, in order."""
        if not isinstance(tree.value, dict) or "include" not in tree.value:
            return tree
        named = tree.value["include"]
        base: Tree | None = None
        for item in named.value if isinstance(named.value, list) else [named]:
            if (below := self._include(item, path, chain, stage)) is not None:
                base = stack(base, below)
        own = Tree({key: child for key, child in tree.value.items() if key != "include"}, tree.origin)
        return stack(base, own)

    def _include(self, item: Tree, path: Path, chain: tuple[Path, ...], stage: bool) -> Tree | None:
        if not isinstance(item.value, str):
            self.problems.append(f"{item.origin}: include: should be the name of a file, given {item.value!r}")
            return None
        found = _included_file(item.value, path)
        if found is None:
            have = {
                str(p.relative_to(path.parent)) for depth in ("*", "*/*") for p in path.parent.glob(f"{depth}.yaml")
            }
            have |= {str(p.relative_to(shipped())) for p in shipped().rglob("*.yaml")}
            self._lost(f"{item.origin}: include: no file '{item.value}'{suggest(item.value, have)}", "")
            return None
        if found.resolve() in chain:
            self._lost(f"{item.origin}: include: '{item.value}' includes this file in turn", "")
            return None
        tree = self.file(found, chain)
        if stage and "stages" in tree.value:
            self.problems.append(f"{item.origin}: include: '{item.value}' has stages of its own, and cannot be one")
        dropped = ("name", "stages") if stage else ("name",)
        return Tree({key: child for key, child in tree.value.items() if key not in dropped}, tree.origin)

    def _parse(self, path: Path) -> Tree:
        place = shown(path)
        try:
            tree = self._compose(path.read_text(encoding="utf-8"), place)
        except (OSError, UnicodeDecodeError) as error:
            return self._lost(f"{place}: cannot be read: {error}", place)
        if tree.value is None or isinstance(tree.value, dict):
            return Tree(tree.value or {}, tree.origin)
        return self._lost(f"{tree.origin}: a recipe is a mapping of key: value, given {short(tree.plain())}", place)

    def _lost(self, problem: str, place: str) -> Tree:
        self.problems.append(problem)
        self.unread = True
        return Tree({}, place)

    def _compose(self, text: str, place: str, numbered: bool = True) -> Tree:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            return self._tree(loader, node, place, numbered) if node is not None else Tree(None, place)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            where = f"{place}:{mark.line + 1}" if mark is not None and numbered else place
            self._lost(f"{where}: {getattr(error, 'problem', None) or error}", place)
            return Tree(None, place)
        finally:
            loader.dispose()

    def _tree(self, loader: _Loader, node: yaml.Node, place: str, numbered: bool, line: int | None = None) -> Tree:
        """The node with its origin: the line of its key, or its own."""
        line = node.start_mark.line if line is None else line
        origin = f"{place}:{line + 1}" if numbered else place
        if isinstance(node, yaml.MappingNode):
            return Tree(self._mapping(loader, node, place, numbered), origin)
        if isinstance(node, yaml.SequenceNode):
            return Tree([self._tree(loader, item, place, numbered) for item in node.value], origin)
        return Tree(loader.construct_object(node), origin)

    def _mapping(self, loader: _Loader, node: yaml.MappingNode, place: str, numbered: bool) -> dict[str, Tree]:
        children: dict[str, Tree] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line
            where = f"{place}:{line + 1}" if numbered else place
            key = loader.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                self.problems.append(f"{where}: a key should be a word, given {key!r}; put it in quotes")
            elif key in children:
                self.problems.append(f"{where}: {key}: stands twice in one mapping, first at {children[key].origin}")
            else:
                children[key] = self._tree(loader, value_node, place, numbered, line)
        return children


def _included_file(name: str, by: Path) -> Path | None:
    """The file that `include` names, with or without `.yaml`: beside the one that says so, in ./recipes, or shipped."""
    names = [name] if name.endswith((".yaml", ".yml")) else [name, f"{name}.yaml"]
    places = (folder / one for folder in (by.parent, Path("recipes"), shipped()) for one in names)
    return next((place for place in places if place.is_file()), None)


def shipped() -> Path:
    """The folder of the recipes that come with vltk: inside the wheel, or the repository's."""
    package = Path(__file__).parent
    return package / "_recipes" if (package / "_recipes").is_dir() else package.parent / "recipes"


def available() -> dict[str, Path]:
    """Recipes of training by name: those of `./recipes`, then those that come with vltk."""
    return {name: path for name, path in _files("").items() if not is_job(path)}


def jobs(*kinds: str) -> dict[str, Path]:
    """Recipes of `vltk capfilt` by name, in the same places and the folders below; of these kinds, or of all."""
    return {name: path for name, path in _files("", "**/*.yaml").items() if kind_of(path) in (kinds or COMMANDS)}


def is_job(path: Path) -> bool:
    """Whether the file is a recipe of `vltk capfilt`."""
    return kind_of(path) is not None


def kind_of(path: Path) -> str | None:
    """`capfilt` or `bootstrap`, where the file says so by its key `kind`."""
    found = re.search(rf"^kind: *({'|'.join(COMMANDS)})\b", path.read_text(encoding="utf-8"), re.MULTILINE)
    return found and found[1]


def _files(folder: str, pattern: str = "*.yaml") -> dict[str, Path]:
    """Those of `./recipes` over those that come with vltk, by their names below `folder`."""
    places = (shipped() / folder, Path("recipes") / folder)
    return {
        path.relative_to(place).with_suffix("").as_posix(): path
        for place in places
        for path in sorted(place.glob(pattern))
    }


def sweeps() -> dict[str, Path]:
    """Sweeps by name: those of `./recipes/sweeps`, then those that come with vltk."""
    return _files(SWEEPS)


def locate(name: str, *kinds: str) -> Path:
    """The file of a recipe or a sweep given by path or by name; RecipeError lists those there are.

    kinds: of COMMANDS, where one of these is wanted.
    """
    bare = name.removesuffix(".yaml").removeprefix("recipes/")
    homes = [Path("recipes"), shipped()]
    places = [Path(name), *(home / folder / f"{bare}.yaml" for folder in ("", SWEEPS) for home in homes)]
    for path in places:
        if path.suffix in (".yaml", ".yml") and path.is_file():
            if kinds and (kind := kind_of(path)) is not None and kind not in kinds:
                raise RecipeError(f"{shown(path)}: kind: this is a {kind} recipe: {COMMANDS[kind]} {name}")
            return path
    known = jobs(*kinds) if kinds else {**available(), **sweeps(), **jobs()}
    raise RecipeError(f"{name}: no such recipe, by path or by name{suggest(bare, known)}")


def headline(path: Path) -> str:
    """The first comment line of a recipe, which says what it is."""
    first = path.read_text(encoding="utf-8").partition("\n")[0]
    return first.lstrip("# ") if first.startswith("#") else ""


def is_whole(path: Path) -> bool:
    """Whether the file is a recipe of its own: it names a model or stages. Others are there to be included."""
    tree = Reader().file(path)
    model = tree.child("model")
    return tree.child("stages") is not None or (
        model is not None and (isinstance(model.value, str) or model.child("part") is not None)
    )


def is_sweep(path: Path) -> bool:
    """Whether the file is a sweep: it names the recipe that it varies."""
    return Reader().file(path).child("sweep") is not None


def shown(path: Path) -> str:
    """The path as messages show it: from the current folder where it lies below."""
    full, here = path.resolve(), Path.cwd().resolve()
    return str(full.relative_to(here) if full.is_relative_to(here) else full)
