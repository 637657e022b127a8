"""`vltk capfilt bootstrap`: BLIP's whole cycle (arXiv 2201.12086 section 3.3), each stage a run of its own.

Pretrain; fine-tune a captioner and a filter, apart from each other; caption and filter the data; pretrain a new model
from scratch on the result. `rounds` says how often (BLIP: once). What is finished is skipped, so the same command goes
on where it was stopped: `runs/NAME/pretrain-0`, `captioner-1`, `filter-1`, `capfilt-1`, `pretrain-1`, ...
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BeforeValidator, PositiveInt, ValidationError

from vltk import needs
from vltk import recipe as recipes
from vltk.capfilt import job as jobs
from vltk.capfilt import steps
from vltk.capfilt.job import Job
from vltk.capfilt.schema import Name
from vltk.data.dataset import is_on_disk
from vltk.errors import Missing, RecipeError
from vltk.log import say
from vltk.recipe import Recipe
from vltk.recipe_files import Reader, Tree, locate, merge, nested, shown
from vltk.recipe_layers import Setting, parse
from vltk.run import RUNS
from vltk.strict import Strict, problems
from vltk.whole import whole

FOLDER = "recipes"  # in the run's folder: what each stage was told
Train = Callable[[Path], None]  # a recipe file


class Part(Strict):
    """A recipe by name or path, and what is said over it, as {steps: 100} or {optimizer: {lr: 1e-4}}."""

    recipe: str
    set: dict[str, Any] = {}


def _part(value: Any) -> Any:
    return {"recipe": value} if isinstance(value, str) else value


Said = Annotated[Part, BeforeValidator(_part)]


class Options(Strict):
    """A recipe of `vltk capfilt bootstrap`."""

    kind: Literal["bootstrap"]
    name: Name | None = None
    rounds: PositiveInt = 1
    stream: str = "pairs"  # of the pretraining recipe: the result takes the place of its data, wherever they are read
    pretrain: Said
    captioner: Said
    filter: Said
    capfilt: Said


@dataclass(frozen=True)
class Bootstrap:
    """A checked recipe: its name and what it says."""

    name: str
    path: Path
    options: Options

    @property
    def folder(self) -> Path:
        return RUNS / self.name


def load(name: str | Path, overrides: Sequence[str] = ()) -> Bootstrap:
    """The bootstrap of this path or name under `key=value` overrides; RecipeError says every mistake."""
    path = locate(str(name))
    reader = Reader()
    tree = reader.file(path)
    for keys, value, _ in parse(overrides, reader):
        tree = merge(tree, nested(keys, value))
    if reader.unread:
        raise RecipeError(reader.problems)
    if tree.child("kind") is None:
        raise RecipeError(f"{shown(path)}: no recipe of vltk capfilt bootstrap: it does not say `kind: bootstrap`")
    try:
        options = Options.model_validate(tree.plain())
    except ValidationError as error:
        wrong = [f"{tree.reach(loc)[1].origin}: {'.'.join(map(str, loc))}: {text}" for loc, text in problems(error)]
        raise RecipeError([*reader.problems, *wrong]) from None
    if reader.problems:
        raise RecipeError(reader.problems)
    return Bootstrap(options.name or path.stem, path, options)


def is_one(path: Path) -> bool:
    """Whether a recipe that trains nothing by itself is a bootstrap."""
    kind = Reader().file(path).child("kind")
    return kind is not None and kind.value == "bootstrap"


def run(boot: Bootstrap, train: Train, redo: bool = False, helpers: Sequence[Mapping[str, str]] = ()) -> Path:
    """All rounds; the folder of the last pretraining. `train` runs a recipe file, as `vltk train` does.

    Raises Missing with all that is absent before anything is trained, RecipeError for recipes that do not fit.
    """
    require(boot)
    (boot.folder / FOLDER).mkdir(parents=True, exist_ok=True)
    model = _trained(boot, "pretrain-0", train)
    for number in range(1, boot.options.rounds + 1):
        for role in ("captioner", "filter"):
            _trained(boot, f"{role}-{number}", train, _from(boot, role, model))
        job = job_of(boot, number)
        steps.run(job, redo, replace=redo, helpers=helpers, report=_report)
        model = _trained(boot, f"pretrain-{number}", train, _data(boot, job.options.output))
    return model


def require(boot: Bootstrap) -> None:
    """Raises Missing with the data that any stage reads and that no stage makes, RecipeError for what does not fit."""
    told: needs.Steps = []
    for role in ("pretrain", "captioner", "filter"):
        told += needs.missing_data(_glanced(boot, role))
    for name in _job(boot).options.data:
        if not is_on_disk(name):
            told += jobs.steps_for(name)
    if told:
        raise Missing(f"vltk capfilt bootstrap ({boot.name}) cannot start; missing:", list(dict.fromkeys(told)))
    _data(boot, "any")
    for role in ("captioner", "filter"):
        _from(boot, role, Path("any"))


def job_of(boot: Bootstrap, number: int) -> Job:
    """The captioning and filtering of a round."""
    given = _job(boot)
    runs = {role: str(boot.folder / f"{role}-{number}") for role in ("captioner", "filter")}
    options = given.options.model_copy(update={**runs, "output": f"{given.options.output}-{number}"})
    return replace(given, name=f"{boot.name}/capfilt-{number}", options=options)


def _job(boot: Bootstrap) -> Job:
    part = boot.options.capfilt
    return jobs.load(part.recipe, list(_overrides(part.set)))


def _trained(boot: Bootstrap, name: str, train: Train, settings: Sequence[Setting] = ()) -> Path:
    """A run of the bootstrap, trained or finished before; its recipe is written down first."""
    recipe = _recipe(boot, name.rpartition("-")[0], settings)
    path = boot.folder / FOLDER / f"{name}.yaml"
    resolved = replace(recipe, name=f"{boot.name}/{name}").resolved()
    with whole(path) as part:
        part.write_text(yaml.safe_dump(resolved, sort_keys=False), encoding="utf-8")
    say(f"bootstrap: {name} ({path})")
    train(path)
    return boot.folder / name


def _recipe(boot: Bootstrap, role: str, settings: Sequence[Setting] = ()) -> Recipe:
    part: Part = getattr(boot.options, role)
    return _composed(part, settings, None)


def _glanced(boot: Bootstrap, role: str) -> Recipe:
    from vltk.parts import GLANCE

    return _composed(getattr(boot.options, role), (), GLANCE)


def _composed(part: Part, settings: Sequence[Setting], context: Any) -> Recipe:
    path = locate(part.recipe)
    reader = Reader()
    tree = reader.file(path)
    said = [*parse(list(_overrides(part.set)), reader), *settings]
    if reader.unread:
        raise RecipeError(reader.problems)
    return recipes.compose(path, tree, said, reader.problems, context)


def _overrides(given: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """`{optimizer: {lr: 1e-4}}` as `optimizer.lr=0.0001`."""
    for key, value in given.items():
        if isinstance(value, dict) and value:
            yield from _overrides(value, f"{above}{key}.")
        else:
            text = yaml.safe_dump(value, default_flow_style=True, width=10**9).strip().removesuffix("...")
            yield f"{above}{key}={text.strip()}"


def _from(boot: Bootstrap, role: str, model: Path) -> list[Setting]:
    """Everything that the fine-tuning starts from is the pretrained model."""
    found = [
        (["stages", stage, "init", part], Tree(str(model), f"bootstrap of {role}"), False)
        for stage, own in _glanced(boot, role).stages.items()
        for part in own.init
    ]
    if not found:
        part = getattr(boot.options, role)
        raise RecipeError(f"{shown(boot.path)}: {role}: the recipe {part.recipe} starts from nothing: it has no init")
    return found


def _data(boot: Bootstrap, output: str) -> list[Setting]:
    """The pretraining's stream, and every other one that reads the same, read the data set that was made."""
    name, stages = boot.options.stream, _glanced(boot, "pretrain").stages
    before = [own.streams[name].data for own in stages.values() if name in own.streams]
    if not before:
        recipe = boot.options.pretrain.recipe
        raise RecipeError(f"{shown(boot.path)}: stream: no stage of {recipe} has a stream '{name}'")
    new = Tree([Tree(output, "bootstrap")], "bootstrap")
    return [
        (["stages", stage, "streams", stream, "data"], new, False)
        for stage, own in stages.items()
        for stream, one in own.streams.items()
        if one.data in before
    ]


def _report(job: Job) -> None:
    from vltk.report.capfilt import build

    say(f"report: {build(job)}")
