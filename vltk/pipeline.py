"""Runs the stages of a recipe in order, skipping those that are finished and equal."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from vltk import dist, launch, pulse
from vltk.data.dataset import open_dataset
from vltk.data.text import load_tokenizer
from vltk.errors import RecipeError, VltkError
from vltk.eval.run import data_digest, evaluator
from vltk.identity import changes, digest, identity, recorded
from vltk.launch import last_words
from vltk.launch.elastic import misfits
from vltk.log import is_quiet, say, warn
from vltk.needs import require_data
from vltk.recipe import Recipe, Stage
from vltk.run import FACTS_FILE, RUNS, RunFolder, Source, checkpoint_at, helper_spec, load
from vltk.strict import suggest
from vltk.train import codes
from vltk.train.alike import alike
from vltk.train.check import check_stages
from vltk.train.folder import noted, opened
from vltk.train.loop import train as train_stage
from vltk.train.rehearsal import views_of
from vltk.train.setup import build
from vltk.train.sources import named, require_finished, source, steps_wanted
from vltk.train.together import on_main


def train(recipe: Recipe, redo: bool = False) -> None:
    """Every stage of the recipe, each into runs/NAME/STAGE, then the report.

    redo: throws away stages that were made by another recipe. Raises Missing, RecipeError, VltkError, Stopped.
    """
    require_data(recipe)
    _require_runs(recipe)
    mistake = None if is_quiet() else misfits(recipe, launch.world()) or _mistake(recipe)
    with _joined():
        on_main(partial(_refuse, mistake))
        alike(recipe, {name: data_digests(stage) for name, stage in recipe.stages.items()} if dist.world() > 1 else {})
        for order, (name, stage) in enumerate(recipe.stages.items()):
            folder = RunFolder(RUNS / recipe.name / name)
            with ExitStack() as held:
                on_main(partial(held.enter_context, folder.locked()))
                _run_stage(recipe, name, stage, folder, order, redo)
        on_main(partial(_report, recipe.name))


@contextmanager
def _joined() -> Iterator[None]:
    """Inside, the ranks form one group. A rank that fails alone leaves it at once: the others do not wait for it."""
    dist.start()
    pulse.start(last_words.cut)
    try:
        yield
    except BaseException:
        if dist.world() == 1:
            dist.stop()
        raise
    pulse.stop()
    dist.stop()


def make_codes(recipe: Recipe, names: Collection[str]) -> None:
    """The codes that the stages `names` read, by default all that have any, beside their data sets.

    Raises Missing, RecipeError, VltkError.
    """
    have = [name for name, stage in recipe.stages.items() if "codes" in stage.frozen]
    mistake = None if is_quiet() else _without_codes(recipe, names, have) or _mistake(recipe)
    with _joined():
        on_main(partial(_refuse, mistake))
        for name in names or have:
            _make_codes(recipe, name, recipe.stages[name])


def _without_codes(recipe: Recipe, names: Collection[str], have: Collection[str]) -> VltkError | None:
    if unknown := [name for name in names if name not in have]:
        return RecipeError(f"{recipe.name} has no stage '{unknown[0]}' with frozen codes{suggest(unknown[0], have)}")
    return None if have else RecipeError(f"{recipe.name} has no stage with frozen codes")


def _make_codes(recipe: Recipe, name: str, stage: Stage) -> None:
    sources = {value: source(recipe, value) for value in stage.frozen.values()}
    _source_digests(sources)
    helpers = {helper: load(sources[value], helpers=False).model for helper, value in stage.frozen.items()}
    again = codes.command(str(recipe.path), name, recipe.overrides)
    coder = codes.Coder.of(stage, helpers["codes"], sources[stage.frozen["codes"]], again)
    codes.make(coder, codes.sizes(stage, views_of(stage, helpers)))


def _require_runs(recipe: Recipe) -> None:
    """Raises Missing where a stage starts from a run that is not there and that no stage of the recipe makes."""
    for value in sorted({value for stage in recipe.stages.values() for value in named(stage)}):
        source(recipe, value)


def _mistake(recipe: Recipe) -> VltkError | None:
    """What is wrong; looked for before the processes meet, as a rehearsal is done by one alone."""
    try:
        check_stages(recipe)
    except VltkError as error:
        return error
    return None


def _refuse(mistake: VltkError | None) -> None:
    if mistake is not None:
        raise mistake


def _run_stage(recipe: Recipe, name: str, stage: Stage, folder: RunFolder, order: int, redo: bool) -> None:
    sources = {value: source(recipe, value) for value in named(stage)}
    facts = identity(stage, data_digests(stage), _source_digests(sources))
    status = _status(folder, facts, redo, stage)
    if status == "finished":
        say(f"{name}: finished before, nothing to do ({folder.path})")
        return
    on_main(lambda: _open(recipe, folder, stage, facts, order, sources))
    if dist.world() > 1:
        last_words.keep_log(folder.path / "ranks" / f"{dist.rank()}.log")
    tasks = stage.evaluate.tasks
    with noted(folder, name):
        score = evaluator(tasks, path=folder.path / "results.jsonl") if tasks else None
        train_stage(build(f"{recipe.name}/{name}", stage, folder, sources, steps_wanted(recipe, name)), score)


def data_digests(stage: Stage) -> dict[str, str]:
    """Of the data sets that are trained on or that decide which weights are best, and of the vocabulary."""
    found = {name: open_dataset(name).digest for stream in stage.streams.values() for name in stream.data}
    if best := stage.evaluate.best:
        judge = stage.evaluate.tasks[best.partition(" ")[0]].build()
        found |= {name: data_digest(name) for name in judge.data_sets}
    if stage.tokenizer:
        found[stage.tokenizer.vocab] = digest({"tokens": load_tokenizer(stage.tokenizer).tokens})
    return found


def _source_digests(sources: Mapping[str, Source]) -> dict[str, str]:
    """Of finished runs, of single checkpoints of any, and of Hugging Face folders."""
    found = {}
    for value, run in sources.items():
        require_finished(run, value)
        what = run.facts()["identity"]
        if isinstance(run, RunFolder) and run.step is not None:
            checkpoint_at(run, run.step)
            what = what | {"step": run.step}
        found[value] = digest(what)
    return found


def _status(folder: RunFolder, facts: dict[str, Any], redo: bool, stage: Stage) -> str:
    """`new`, `begun` or `finished`; refuses a folder that another recipe made, or empties it with `redo`.

    With `loader.data_change` a run that is not finished goes on although its data is no longer what it was.
    """
    before, identified = folder.facts(), recorded(folder)
    dist.barrier()  # every rank has read them before one of them changes or goes
    if not before:
        return "new"
    different = changes(identified, facts)
    if not different:
        return str(before["status"]) if before["status"] == "finished" else "begun"
    shown = "\n  ".join(line.removeprefix("recipe.") for line in different[:8])
    words = (
        f"data.{stage.tokenizer.vocab}: " if stage.tokenizer else "data.: "
    )  # other words, another meaning of all weights
    only_data = all(line.startswith("data.") and not line.startswith(words) for line in different)
    only_data = only_data and before["status"] != "finished"
    if only_data and stage.loader.data_change and not redo:
        warn(f"{folder.path} goes on with data that was changed since it began:\n  {shown}")
        return "begun"
    if not redo:
        go_on = "go on with the changed data (loader.data_change=true), " if only_data else ""
        raise RecipeError(
            f"{folder.path} was made {'from other data' if only_data else 'by another recipe'}:\n  {shown}\n"
            f"{go_on}give this run another name (name=OTHER), or throw the old one away with --redo"
        )
    on_main(lambda: _empty(folder))
    return "new"


def _empty(folder: RunFolder) -> None:
    """Removes all but the lock; run.json goes last, so that a folder half emptied still says what made it."""
    for path in sorted(folder.path.iterdir(), key=lambda path: path.name == FACTS_FILE):
        if path.name != "lock":
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _open(
    recipe: Recipe, folder: RunFolder, stage: Stage, facts: dict[str, Any], order: int, sources: Mapping[str, Source]
) -> None:
    """Writes what makes the folder explain itself."""
    tokenizer = load_tokenizer(stage.tokenizer) if stage.tokenizer else None
    frozen = {helper: helper_spec(folder, sources[value]) for helper, value in stage.frozen.items()}
    said = {"order": order, "frozen": frozen, "recipe": str(recipe.path), "overrides": list(recipe.overrides)}
    opened(folder, stage, tokenizer, facts, **said)


def _report(name: str) -> None:
    from vltk.report import build as build_report

    say(f"report: {build_report(name)}")
