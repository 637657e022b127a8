"""A recipe of `vltk capfilt bootstrap`: the recipes of its stages, and what is said over each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import PositiveInt, ValidationError

from vltk import recipe as recipes
from vltk.capfilt import job as jobs
from vltk.capfilt.job import Job
from vltk.capfilt.schema import Name
from vltk.errors import RecipeError
from vltk.parts import GLANCE
from vltk.recipe import Recipe
from vltk.recipe_files import Reader, Tree, is_job, is_sweep, locate, merge, nested, shown
from vltk.recipe_layers import Setting, parse, said
from vltk.run import RUNS
from vltk.strict import Strict, problems

TRAINED = ("pretrain", "captioner", "filter")
CAPFILT = "capfilt"


class Part(Strict):
    """A recipe by name or path, and what is said over it, as {steps: 100} or {optimizer: {lr: 1e-4}}."""

    recipe: str
    set: dict[str, Any] = {}


class Options(Strict):
    """A recipe of `vltk capfilt bootstrap`."""

    kind: Literal["bootstrap"]
    name: Name | None = None
    rounds: PositiveInt = 1
    stream: str = "pairs"  # of the pretraining recipe: the result takes the place of its data, wherever they are read
    pretrain: Part
    captioner: Part
    filter: Part
    capfilt: Part


@dataclass(frozen=True)
class Bootstrap:
    """A checked recipe: its name, what it says, and where it says so."""

    name: str
    path: Path
    options: Options
    tree: Tree

    @property
    def folder(self) -> Path:
        return RUNS / self.name

    @property
    def rounds(self) -> range:
        return range(1, self.options.rounds + 1)

    def origin(self, *keys: str) -> str:
        """Where a key was written; of one that was not, where what it belongs to was."""
        return self.tree.reach(keys)[1].origin


def load(name: str | Path, overrides: Sequence[str] = ()) -> Bootstrap:
    """The bootstrap of this path or name under `key=value` overrides; RecipeError says every mistake.

    Of its recipes all but the options of parts, which `check` looks at.
    """
    path = locate(str(name), "bootstrap")
    reader = Reader()
    tree = _spelt_out(reader.file(path))
    for keys, value, _ in parse(overrides, reader):
        tree = merge(tree, nested(keys, value))
    if reader.unread:
        raise RecipeError(reader.problems)
    if tree.child("kind") is None:
        raise RecipeError(f"{shown(path)}: no recipe of vltk capfilt bootstrap: it does not say `kind: bootstrap`")
    tree = _spelt_out(tree)
    wrong = [*reader.problems, *_wrong_keys(tree)]
    if wrong or _mistakes(tree, GLANCE):
        raise RecipeError([*wrong, *_mistakes(tree)])  # with the options of parts, so that all are said at once
    options = Options.model_validate(tree.plain())
    boot = Bootstrap(options.name or path.stem, path, options, tree)
    if wrong := list(_misfits(boot)):
        raise RecipeError(wrong)
    return boot


def check(boot: Bootstrap) -> None:
    """Raises RecipeError with every mistake that shows when the models of all stages are built; takes seconds."""
    from vltk.train.check import check_stages

    wrong: list[str] = []
    for role in TRAINED:
        try:
            with _inside(boot.tree, role):
                check_stages(composed(boot.tree, role, ()))
        except RecipeError as error:
            wrong += error.problems
    if wrong:
        raise RecipeError(wrong)


def composed(tree: Tree, role: str, settings: Sequence[Setting], context: Any = None) -> Recipe:
    """The recipe in this role under what the bootstrap says over it, and under `settings`."""
    path = _located(tree, role)
    reader = Reader()
    with _inside(tree, role):
        base = reader.file(path)
        over = [*said(_given(tree, role), reader), *settings]
        if reader.unread:
            raise RecipeError(reader.problems)
        return recipes.compose(path, base, over, reader.problems, context)


def capfilt_job(tree: Tree) -> Job:
    """What captions and filters, its run names and output still without a round."""
    reader = Reader()
    with _inside(tree, CAPFILT):
        return jobs.compose(_located(tree, CAPFILT, CAPFILT), list(said(_given(tree, CAPFILT), reader)), reader)


def _spelt_out(tree: Tree) -> Tree:
    """`pretrain: blip` as `pretrain: {recipe: blip}`, so that the command line can say more over it."""
    named = {role: tree.child(role) for role in (*TRAINED, CAPFILT)}
    spelt = {
        role: Tree({"recipe": child}, child.origin)
        for role, child in named.items()
        if child is not None and isinstance(child.value, str)
    }
    return Tree({**tree.value, **spelt}, tree.origin)


def _wrong_keys(tree: Tree) -> list[str]:
    """Mistakes in the bootstrap's own keys."""
    try:
        Options.model_validate(tree.plain())
    except ValidationError as error:
        return [f"{tree.reach(loc)[1].origin}: {'.'.join(map(str, loc))}: {text}" for loc, text in problems(error)]
    return []


def _mistakes(tree: Tree, context: Any = None) -> list[str]:
    """Mistakes in the recipes that are named, and in what is said over them."""
    found: list[str] = []
    for role in (*TRAINED, CAPFILT):
        done, named = tree.reach((role, "recipe"))
        if len(done) < 2 or not isinstance(named.value, str):
            continue  # which is among the wrong keys
        try:
            capfilt_job(tree) if role == CAPFILT else composed(tree, role, (), context)
        except RecipeError as error:
            found += error.problems
    return found


def _misfits(boot: Bootstrap) -> Iterator[str]:
    """What a recipe lacks that the cycle needs of it."""
    stages = composed(boot.tree, "pretrain", (), GLANCE).stages.values()
    if not any(boot.options.stream in own.streams for own in stages):
        told = f"no stage of {boot.options.pretrain.recipe} has a stream '{boot.options.stream}'"
        yield f"{boot.origin('stream')}: stream: {told}"
    for role in jobs.ROLES:
        if not any(own.init for own in composed(boot.tree, role, (), GLANCE).stages.values()):
            told = f"the recipe {getattr(boot.options, role).recipe} starts from nothing: it has no init"
            yield f"{boot.origin(role)}: {role}: {told}"


def _located(tree: Tree, role: str, *kinds: str) -> Path:
    named = tree.reach((role, "recipe"))[1]
    try:
        path = locate(named.value, *kinds)
    except RecipeError as error:
        raise RecipeError(f"{named.origin}: {role}.recipe: {error}") from None
    if not kinds and (is_job(path) or is_sweep(path)):
        raise RecipeError(
            f"{named.origin}: {role}.recipe: {named.value} trains nothing by itself: name a recipe of training"
        )
    return path


def _given(tree: Tree, role: str) -> Tree:
    """What is said over the recipe in this role."""
    done, given = tree.reach((role, "set"))
    return given if len(done) == 2 and isinstance(given.value, dict) else Tree({}, given.origin)


@contextmanager
def _inside(tree: Tree, role: str) -> Iterator[None]:
    """Mistakes in what is said over a recipe get the keys that lead there: `steps` becomes `pretrain.set.steps`."""
    try:
        yield
    except RecipeError as error:
        heads = {f"{origin}: " for origin in _origins(_given(tree, role))}
        raise RecipeError([_headed(problem, heads, f"{role}.set.") for problem in error.problems]) from None


def _headed(problem: str, heads: set[str], keys: str) -> str:
    head = next((head for head in heads if problem.startswith(head)), None)
    if head is None or problem.startswith(f"{head}{keys}"):
        return problem
    return f"{head}{keys}{problem.removeprefix(head)}"


def _origins(tree: Tree) -> Iterator[str]:
    yield tree.origin
    below = tree.value.values() if isinstance(tree.value, dict) else tree.value if isinstance(tree.value, list) else ()
    for child in below:
        yield from _origins(child)
