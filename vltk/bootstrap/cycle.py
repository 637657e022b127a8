"""`vltk capfilt bootstrap`: BLIP's whole cycle (arXiv 2201.12086 section 3.3), each stage a run of its own.

Pretrain; fine-tune a captioner and a filter, apart from each other; caption and filter the data; pretrain a new model
from scratch on the result. `rounds` says how often (BLIP: once). What is finished is skipped, so the same command goes
on where it was stopped: `runs/NAME/pretrain-0`, `captioner-1`, `filter-1`, `capfilt-1`, `pretrain-1`, ...
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from vltk import needs
from vltk.bootstrap.recipe import CAPFILT, TRAINED, Bootstrap, capfilt_job, check, composed
from vltk.capfilt import job as jobs
from vltk.capfilt import steps
from vltk.capfilt.job import Job
from vltk.data.dataset import is_on_disk, read_manifest
from vltk.errors import Missing, RecipeError, VltkError
from vltk.identity import changes, identity, recorded
from vltk.log import say
from vltk.parts import GLANCE
from vltk.recipe import Recipe
from vltk.recipe_files import Tree
from vltk.recipe_layers import Setting
from vltk.run import RUNS, RunFolder
from vltk.whole import whole

FOLDER = "recipes"  # in the run's folder: what each training was told
Train = Callable[[Path], None]  # a recipe file


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
        told += needs.missing_data(composed(boot.tree, role, (), GLANCE))
    for name in capfilt_job(boot.tree).options.data:
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
    given = capfilt_job(boot.tree)
    runs = {role: str(boot.folder / f"{role}-{number}") for role in jobs.ROLES}
    options = given.options.model_copy(update={**runs, "output": f"{given.options.output}-{number}"})
    name = f"{boot.name}/capfilt-{number}"
    return replace(given, name=name, path=RUNS / name / jobs.FILE, options=options)  # a file that `vltk capfilt` takes


def _trainings(boot: Bootstrap) -> Iterator[tuple[str, Recipe]]:
    """Every run that is trained, in order, with its recipe."""
    yield "pretrain-0", composed(boot.tree, "pretrain", ())
    for number in boot.rounds:
        for role in jobs.ROLES:
            yield (
                f"{role}-{number}",
                composed(boot.tree, role, _from(boot, role, boot.folder / f"pretrain-{number - 1}")),
            )
        output = job_of(boot, number).options.output
        yield f"pretrain-{number}", composed(boot.tree, "pretrain", _data(boot, output))


def _from(boot: Bootstrap, role: str, model: Path) -> list[Setting]:
    """Everything that the fine-tuning starts from is the pretrained model."""
    return [
        (["stages", stage, "init", part], Tree(str(model), f"bootstrap of {role}"), False)
        for stage, own in composed(boot.tree, role, (), GLANCE).stages.items()
        for part in own.init
    ]


def _data(boot: Bootstrap, output: str) -> list[Setting]:
    """The pretraining's stream, and every other one that reads the same, read the data set that was made."""
    name, stages = boot.options.stream, composed(boot.tree, "pretrain", (), GLANCE).stages
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
