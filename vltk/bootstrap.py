"""`vltk capfilt bootstrap`: BLIP's whole cycle (arXiv 2201.12086 section 3.3), each stage a run of its own.

Pretrain; fine-tune a captioner and a filter, apart from each other; caption and filter the data; pretrain a new model
from scratch on the result. `rounds` says how often (BLIP: once). What is finished is skipped, so the same command goes
on where it was stopped: `runs/NAME/pretrain-0`, `captioner-1`, `filter-1`, `capfilt-1`, `pretrain-1`, ...
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import PositiveInt, ValidationError

from vltk import needs
from vltk import recipe as recipes
from vltk.capfilt import job as jobs
from vltk.capfilt import steps
from vltk.capfilt.job import Job
from vltk.capfilt.schema import Name
from vltk.data.dataset import is_on_disk, read_manifest
from vltk.errors import Missing, RecipeError, VltkError
from vltk.identity import changes, identity, recorded
from vltk.log import say
from vltk.parts import GLANCE
from vltk.recipe import Recipe
from vltk.recipe_files import Reader, Tree, is_job, is_sweep, locate, merge, nested, shown
from vltk.recipe_layers import Setting, parse, said
from vltk.run import RUNS, RunFolder
from vltk.strict import Strict, problems
from vltk.whole import whole

FOLDER = "recipes"  # in the run's folder: what each training was told
TRAINED = ("pretrain", "captioner", "filter")
CAPFILT = "capfilt"
Train = Callable[[Path], None]  # a recipe file


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
                check_stages(_composed(boot.tree, role, ()))
        except RecipeError as error:
            wrong += error.problems
    if wrong:
        raise RecipeError(wrong)


def run(boot: Bootstrap, train: Train, redo: bool = False, helpers: Sequence[Mapping[str, str]] = ()) -> Path:
    """All rounds; the folder of the last pretraining. `train` runs a recipe file, as `vltk train` does.

    Raises Missing with all that is absent before anything is trained, RecipeError and VltkError for what does not fit.
    """
    require(boot)
    check(boot)
    if not redo:
        _refuse_changed(boot)
    trainings = dict(_trainings(boot))
    _train(boot, "pretrain-0", trainings, train)
    for number in boot.rounds:
        for role in ("captioner", "filter"):
            _train(boot, f"{role}-{number}", trainings, train)
        job = job_of(boot, number)
        steps.run(job, redo, replace=_is_ours(job), helpers=helpers, report=_report)
        _train(boot, f"pretrain-{number}", trainings, train)
    return boot.folder / f"pretrain-{boot.options.rounds}"


def require(boot: Bootstrap) -> None:
    """Raises Missing with the data that any stage reads and that no stage makes, VltkError for data that does not fit
    and for outputs that another job made."""
    told: needs.Steps = []
    for role in TRAINED:
        told += needs.missing_data(_composed(boot.tree, role, (), GLANCE))
    for name in _job(boot.tree).options.data:
        if not is_on_disk(name):
            told += jobs.steps_for(name)
    if told:
        raise Missing(f"vltk capfilt bootstrap ({boot.name}) cannot start; missing:", list(dict.fromkeys(told)))
    rounds = [job_of(boot, number) for number in boot.rounds]
    for job in rounds:
        jobs.require(job, ())
    if taken := [job.options.output for job in rounds if is_on_disk(job.options.output) and not _is_ours(job)]:
        raise VltkError(
            f"{boot.origin(CAPFILT, 'set', 'output')}: capfilt.set.output: not made by this bootstrap, and there "
            f"already: {', '.join(taken)}; give another name (capfilt.set.output=OTHER), or remove it: "
            f"vltk data rm {' '.join(taken)}"
        )


def job_of(boot: Bootstrap, number: int) -> Job:
    """The captioning and filtering of a round."""
    given = _job(boot.tree)
    runs = {role: str(boot.folder / f"{role}-{number}") for role in jobs.ROLES}
    options = given.options.model_copy(update={**runs, "output": f"{given.options.output}-{number}"})
    name = f"{boot.name}/capfilt-{number}"
    return replace(given, name=name, path=RUNS / name / jobs.FILE, options=options)  # a file that `vltk capfilt` takes


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
            _job(tree) if role == CAPFILT else _composed(tree, role, (), context)
        except RecipeError as error:
            found += error.problems
    return found


def _misfits(boot: Bootstrap) -> Iterator[str]:
    """What a recipe lacks that the cycle needs of it."""
    stages = _composed(boot.tree, "pretrain", (), GLANCE).stages.values()
    if not any(boot.options.stream in own.streams for own in stages):
        told = f"no stage of {boot.options.pretrain.recipe} has a stream '{boot.options.stream}'"
        yield f"{boot.origin('stream')}: stream: {told}"
    for role in jobs.ROLES:
        if not any(own.init for own in _composed(boot.tree, role, (), GLANCE).stages.values()):
            told = f"the recipe {getattr(boot.options, role).recipe} starts from nothing: it has no init"
            yield f"{boot.origin(role)}: {role}: {told}"


def _job(tree: Tree) -> Job:
    reader = Reader()
    with _inside(tree, CAPFILT):
        return jobs.compose(_located(tree, CAPFILT, CAPFILT), list(said(_given(tree, CAPFILT), reader)), reader)


def _composed(tree: Tree, role: str, settings: Sequence[Setting], context: Any = None) -> Recipe:
    """The recipe in this role under what the bootstrap says over it, and under `settings`."""
    path = _located(tree, role)
    reader = Reader()
    with _inside(tree, role):
        base = reader.file(path)
        over = [*said(_given(tree, role), reader), *settings]
        if reader.unread:
            raise RecipeError(reader.problems)
        return recipes.compose(path, base, over, reader.problems, context)


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


def _trainings(boot: Bootstrap) -> Iterator[tuple[str, Recipe]]:
    """Every run that is trained, in order, with its recipe."""
    yield "pretrain-0", _composed(boot.tree, "pretrain", ())
    for number in boot.rounds:
        for role in jobs.ROLES:
            yield (
                f"{role}-{number}",
                _composed(boot.tree, role, _from(boot, role, boot.folder / f"pretrain-{number - 1}")),
            )
        output = job_of(boot, number).options.output
        yield f"pretrain-{number}", _composed(boot.tree, "pretrain", _data(boot, output))


def _from(boot: Bootstrap, role: str, model: Path) -> list[Setting]:
    """Everything that the fine-tuning starts from is the pretrained model."""
    return [
        (["stages", stage, "init", part], Tree(str(model), f"bootstrap of {role}"), False)
        for stage, own in _composed(boot.tree, role, (), GLANCE).stages.items()
        for part in own.init
    ]


def _data(boot: Bootstrap, output: str) -> list[Setting]:
    """The pretraining's stream, and every other one that reads the same, read the data set that was made."""
    name, stages = boot.options.stream, _composed(boot.tree, "pretrain", (), GLANCE).stages
    before = [own.streams[name].data for own in stages.values() if name in own.streams]
    new = Tree([Tree(output, "bootstrap")], "bootstrap")
    return [
        (["stages", stage, "streams", stream, "data"], new, False)
        for stage, own in stages.items()
        for stream, one in own.streams.items()
        if one.data in before
    ]


def _train(boot: Bootstrap, name: str, trainings: Mapping[str, Recipe], train: Train) -> None:
    """A run of the bootstrap, trained or finished before; its recipe is written down first."""
    path = boot.folder / FOLDER / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    resolved = replace(trainings[name], name=f"{boot.name}/{name}").resolved()
    with whole(path) as part:
        part.write_text(yaml.safe_dump(resolved, sort_keys=False), encoding="utf-8")
    say(f"bootstrap: {name} ({path})")
    train(path)


def _refuse_changed(boot: Bootstrap) -> None:
    """Raises RecipeError with the keys of every stage that was begun by other settings than those of now."""
    found = [
        f"{place} was made by another recipe:\n  " + "\n  ".join(line.removeprefix("recipe.") for line in lines)
        for place, lines in _changed(boot)
        if lines
    ]
    if found:
        raise RecipeError(
            "\n".join(found) + "\ngive this bootstrap and its data other names (name=OTHER capfilt.set.output=OTHER), "
            "or make again what has changed with --redo"
        )


def _changed(boot: Bootstrap) -> Iterator[tuple[Path, list[str]]]:
    """Every stage that was begun, with a line a key that differs."""
    for name, recipe in _trainings(boot):
        for stage, own in recipe.stages.items():
            folder = RunFolder(boot.folder / name / stage)
            if before := recorded(folder):
                yield folder.path, changes({"recipe": before["recipe"]}, {"recipe": identity(own, {}, {})["recipe"]})
    for number in boot.rounds:
        job = job_of(boot, number)
        if (path := job.folder / jobs.FILE).exists():
            yield job.folder, changes(_decisive(jobs.load(path)), _decisive(job))


def _decisive(job: Job) -> dict[str, Any]:
    """What a job says that affects its result."""
    size = {"batch_size"}
    return job.options.model_dump(mode="json", exclude={"name": True, "caption": size, "score": size})


def _is_ours(job: Job) -> bool:
    """Whether the data set of the output's name was made by this round, by whatever settings."""
    folder = jobs.output_folder(job)
    if not job.folder.exists() or not (folder / "manifest.json").exists():
        return False
    source = read_manifest(folder, job.options.output).get("source") or {}
    models = [source.get("filter"), (source.get("captions") or {}).get("captioner")]
    runs = {model["run"] for model in models if model}
    return source.get("kind") == CAPFILT and runs <= {job.options.captioner, job.options.filter}


def _report(job: Job) -> None:
    from vltk.report.capfilt import build

    say(f"report: {build(job)}")
