"""A job of `vltk capfilt`: its recipe, its runs, its data by shards, and the folder where its steps leave their tables.

`runs/NAME/` has `capfilt.yaml` (resolved), `report.html`, and below `captions/`, `scores/` and `decisions/` a parquet
file a shard. Nothing here imports torch: what is missing is said in seconds.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, pairwise
from pathlib import Path

import yaml
from pydantic import ValidationError

from vltk import run
from vltk.capfilt.rules._contract import Rule
from vltk.capfilt.schema import Options
from vltk.data import dataset as data
from vltk.data.card import steps_for
from vltk.data.dataset import Dataset, dataset_folder, is_on_disk
from vltk.errors import Missing, RecipeError, VltkError
from vltk.recipe_files import Reader, Tree, locate, merge, nested, shown
from vltk.recipe_layers import Setting, parse
from vltk.strict import problems
from vltk.whole import whole

FILE = "capfilt.yaml"
DEFAULT_RULE = "itm"  # BLIP's
RECIPES = {"captioner": "blip/captioner", "filter": "blip/filter"}  # that train a run for its role
ROLES = tuple(RECIPES)
Steps = list[tuple[str, str]]


@dataclass(frozen=True)
class Shard:
    """Samples of a data set that are worked on together, and lost together when a process is killed."""

    dataset: Dataset
    number: int
    positions: range
    human: bool

    @property
    def name(self) -> str:
        return f"{self.dataset.name}/{self.number:05d}"

    @property
    def content(self) -> dict[str, str]:
        """What it holds: of its tar and index, and of the samples that the skip list takes out."""
        entry = self.dataset.manifest["shards"][self.number]
        skipped = entry["samples"] - len(self.positions)
        return {"sha256": entry["sha256"], "index_sha256": entry["index_sha256"], "skipped": str(skipped)}


@dataclass(frozen=True)
class Job:
    """A checked recipe. `force`: what its runs were trained for is not looked at; `overrides` were said over it."""

    name: str
    path: Path
    options: Options
    force: bool = False
    overrides: tuple[str, ...] = ()

    @property
    def given(self) -> str:
        """The recipe and what was said over it, to be typed behind another command."""
        return shlex.join([str(self.path), *self.overrides])

    @property
    def folder(self) -> Path:
        return run.RUNS / self.name

    @cached_property
    def rule(self) -> Rule:
        built: Rule = self.options.select.build()
        return built

    @cached_property
    def datasets(self) -> dict[str, Dataset]:
        return {name: data.open_dataset(name) for name in self.options.data}

    @cached_property
    def shards(self) -> list[Shard]:
        """Of all data sets, in order."""
        return [shard for name in self.datasets for shard in self._shards_of(name)]

    def _shards_of(self, name: str) -> Iterator[Shard]:
        dataset = self.datasets[name]
        cuts = [0, *accumulate(dataset.shard_sizes)]
        for number, (first, last) in enumerate(pairwise(cuts)):
            yield Shard(dataset, number, range(first, last), self.options.data[name].human)

    def write(self) -> None:
        """The resolved recipe, so that the folder explains itself."""
        self.folder.mkdir(parents=True, exist_ok=True)
        text = yaml.safe_dump(self.options.model_dump(mode="json") | {"name": self.name}, sort_keys=False)
        with whole(self.folder / FILE) as part:
            part.write_text(text, encoding="utf-8")


def load(name: str | Path, overrides: Sequence[str] = (), force: bool = False) -> Job:
    """The job of this path or name under `key=value` overrides; RecipeError says every mistake."""
    reader = Reader()
    job = compose(locate(str(name), "capfilt"), list(parse(overrides, reader)), reader, force)
    return replace(job, overrides=tuple(overrides))


def compose(path: Path, settings: Iterable[Setting], reader: Reader, force: bool = False) -> Job:
    """The job that the file `path` is under settings; RecipeError adds its mistakes to those that `reader` has met."""
    rule = Tree({"select": Tree({"part": Tree(DEFAULT_RULE, shown(path))}, shown(path))}, shown(path))
    tree = merge(rule, reader.file(path))
    for keys, value, _ in settings:
        tree = merge(tree, nested(keys, value))
    if reader.unread:
        raise RecipeError(reader.problems)
    if tree.child("kind") is None:
        raise RecipeError(f"{shown(path)}: no recipe of vltk capfilt: it does not say `kind: capfilt`")
    wrong = list(reader.problems)
    try:
        options = Options.model_validate(tree.plain())
    except ValidationError as error:
        raise RecipeError([*wrong, *(_placed(tree, loc, text) for loc, text in problems(error))]) from None
    if wrong:
        raise RecipeError(wrong)
    job = Job(options.name or path.stem, path, options, force)
    if wrong := [f"{tree.reach(keys)[1].origin}: {'.'.join(keys)}: {text}" for keys, text in _misfits(job)]:
        raise RecipeError(wrong)
    return job


def _placed(tree: Tree, loc: tuple[str | int, ...], text: str) -> str:
    done, place = tree.reach(loc)
    keys = done if done and not text.startswith("required") else loc
    return f"{place.origin}: {'.'.join(map(str, keys))}: {text}"


def _misfits(job: Job) -> Iterator[tuple[tuple[str, ...], str]]:
    """What does not go together."""
    options = job.options
    try:
        by = job.rule.by
    except RecipeError as error:
        yield from ((("select",), problem) for problem in error.problems)
        return
    if options.filter is None and by in ("itm", "itc"):
        told = f"{options.select.part} chooses by {by}, which a filter gives: name one, or take `select: all`"
        yield ("select",), told
    if options.captioner is None and options.filter is None:
        yield ("filter",), "null, and captioner too: there is nothing to do"
    if by == "logprob" and any(not one.human for one in options.data.values()):
        yield ("select", "by"), "logprob: only generated texts have it, and web texts are judged beside them"
    if options.output in options.data:
        yield ("output",), f"{options.output!r} is one of the data sets that go in"


def absent(job: Job, roles: Sequence[str] = ROLES) -> Steps:
    """What the job reads and the machine lacks, with the command that brings it; of the runs those in these roles."""
    steps: Steps = []
    for role in roles:
        spec = getattr(job.options, role)
        try:
            if spec is not None:
                run.find_source(spec)
        except Missing:
            steps.append((f"the {role}: a run {spec!r}, of that recipe or another", f"vltk train {RECIPES[role]}"))
    for name in job.options.data:
        if not is_on_disk(name):
            steps += steps_for(name)
    return steps


def require(job: Job, roles: Sequence[str] = ROLES) -> None:
    """Raises Missing with all that is absent, and VltkError for data without images and for a name that is taken."""
    if steps := absent(job, roles):
        raise Missing(f"vltk capfilt ({job.name}) cannot start; missing:", steps)
    for name, dataset in job.datasets.items():
        if dataset.manifest.get("kind") == "tokens" or not dataset.has_images:
            raise VltkError(
                f"the data set {name!r} has samples without images: CapFilt is about images and their texts"
            )
    if run.stage_folders(job.folder) and not (job.folder / FILE).exists():
        raise VltkError(f"{job.folder} holds a training run: give this job another name (name=OTHER)")


def output_folder(job: Job) -> Path:
    return dataset_folder(job.options.output)
