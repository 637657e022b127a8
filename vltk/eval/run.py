"""`vltk eval`: says at once what is missing, then scores each run on each task, into its results.jsonl."""

from __future__ import annotations

import json
import os
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vltk import run
from vltk.data.dataset import open_dataset
from vltk.errors import Missing, RecipeError, VltkError
from vltk.eval import results, task
from vltk.eval.claims import now
from vltk.eval.compare import contrasts, sheet
from vltk.eval.content import digest
from vltk.eval.evaluation import FOLDER, Evaluation
from vltk.eval.headline import headlines
from vltk.eval.places import RANDOM, Place, Steps, absent_runs, newest, places
from vltk.eval.queue import Queue, TasksFailed, failures
from vltk.eval.results import Row
from vltk.eval.several import Outcome
from vltk.eval.sheet import print_grid
from vltk.eval.sources import OFFICIAL, Library
from vltk.eval.table import Table
from vltk.eval.workers import begun, helped, is_helper
from vltk.log import say
from vltk.parts import Choice
from vltk.whole import whole

if TYPE_CHECKING:  # torch takes seconds; what is missing is said before it is imported
    from torch import nn

    from vltk.run import Trained

CACHE = "VLTK_CACHE"
FETCH = re.compile(r"vltk eval --fetch (\w+)( --data .*)?")


@dataclass(frozen=True)
class Options:
    """How `vltk eval` evaluates, besides what and which runs.

    `data`: where official data sets lie; `nonstandard`: other counts than theirs may pass; `protocol`: of
    headlines.yaml; `skip_absent`: tasks whose data is absent are left out; `store`: encodings are kept on disk;
    `redo`: what is done is done again; `budget`, `seeds` of fine-tunings and `solver` of probes: where not as their
    cards say; `random_weights`: the same models freshly initialised by the seed are scored beside the runs; `helpers`:
    the environment of each further process; `report` is given what was found, also where tasks failed, and says what
    it wrote.
    """

    limit: int | None = None
    seed: int = 0
    data: Path | None = None
    nonstandard: bool = False
    protocol: str = task.FLAVA
    skip_absent: bool = False
    store: bool = True
    redo: bool = False
    budget: str | None = None
    seeds: int | None = None
    solver: str | None = None
    random_weights: bool = False
    helpers: Sequence[Mapping[str, str]] = ()
    report: Callable[[Outcome], Path] | None = None


def evaluate(
    runs: Sequence[str], suite: str | None = None, tasks: Sequence[str] = (), options: Options | None = None
) -> list[Row]:
    """Scores each run (none given: the newest finished one) on the tasks of a suite and on `tasks`; returns all rows.

    Raises RecipeError for unknown names, Missing with everything that is not there (runs, data), and at the
    end TasksFailed where tasks failed; all others are then done and written.
    """
    given = options or Options()
    library = Library(given.data, given.nonstandard)
    chosen = _chosen(suite, tasks, given)
    lacking = {name: steps for name, choice in chosen.items() if (steps := _lacks(name, choice, library))}
    specs, missing = (list(runs), []) if runs else newest()
    missing += absent_runs(specs)
    left = {name: choice for name, choice in chosen.items() if name not in lacking}
    if not (given.skip_absent and left):
        whats = [step for steps in lacking.values() for step in steps]
        missing = _merged(whats) + missing
    if missing:
        raise Missing("vltk eval cannot start; missing:", missing)
    absent = list(lacking)
    if absent:
        say(f"left out, as their data is absent: {', '.join(absent)}")
    homes = places(specs, given.random_weights)
    logs = homes[0].home / FOLDER
    logs.mkdir(parents=True, exist_ok=True)
    since = begun() or now(logs)
    with helped(len(given.helpers), logs, since, given.helpers):
        found = [_evaluate_run(place, left, given, library, since) for place in homes]
    if not is_helper():
        _tell(_outcome(found, suite, given.protocol, absent, library), homes, given.report)
    if failed := [line for one in found for line in failures(one)]:
        raise TasksFailed("\n  ".join([f"{len(failed)} evaluations failed:", *failed]))
    return [row for one in found for evaluation in one for row in evaluation.rows]


def evaluator(tasks: Mapping[str, Choice], seed: int = 0, path: Path | None = None) -> Callable[[Trained], list[Row]]:
    """What training calls at its intervals: scores the model and leaves it, and every generator, as it was.

    The rows of all tasks are added to `path` (results.jsonl) in one locked write, as `vltk eval` adds its own.
    Raises Missing at once when data of a task is absent.
    """
    if missing := absent_data(tasks):
        raise Missing("the recipe's evaluate.tasks cannot run; missing:", missing)

    def score(trained: Trained) -> list[Row]:
        from vltk.eval.features import Subject

        with undisturbed(trained.model):
            subject = Subject(trained, seed)
            rows = [row for name, choice in tasks.items() for row in _score(name, choice, subject)]
        if path is not None:
            results.append(path, rows)
        return rows

    return score


def absent_data(tasks: Mapping[str, Choice], library: Library | None = None) -> Steps:
    """What to bring, and what to type, for the data sets of the tasks that are not on disk; each once.

    A protocol may be `absent` in other ways too: packages and runs that it needs.
    """
    shelf = library or Library()
    steps: dict[tuple[str, str], None] = {}
    protocols = [choice.build() for choice in tasks.values()]
    for data in dict.fromkeys(data for protocol in protocols for data in protocol.data_sets):
        steps |= dict.fromkeys(shelf.absent(data))
    for protocol in protocols:
        steps |= dict.fromkeys(getattr(protocol, "absent", ()))
    return list(steps)


def data_digest(data: str) -> str:
    """Of a data set that a task reads: what it holds."""
    return digest(Library().open(data).fingerprint) if data.startswith(OFFICIAL) else open_dataset(data).digest


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Evaluation mode in fp32 without gradients; afterwards each module's mode and all generators are as before."""
    import torch

    modes = [(module, module.training) for module in model.modules()]
    python, numpy = random.getstate(), np.random.get_state()
    device = next(model.parameters()).device
    devices = [device] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices), torch.no_grad(), torch.autocast(device.type, enabled=False):
            model.eval()
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        for module, training in modes:
            module.training = training


def _chosen(suite: str | None, tasks: Sequence[str], given: Options) -> dict[str, Choice]:
    """The tasks by name, with the options of the call."""
    if suite is None and not tasks:
        have = f"suites: {', '.join(task.suite_names())}; tasks: {', '.join(task.names())}"
        raise RecipeError(f"say what to evaluate with --suite NAME or --tasks NAME,...; have {have}")
    headlines(given.protocol)  # says which there are
    content = None if suite is None else task.suite(suite)
    chosen = task.read(content.entries, given.protocol, f"{suite}: tasks:") if content else {}
    chosen |= task.read(tasks, given.protocol)
    for limit in (given.limit, content.limit if content else None):
        if limit is not None:
            chosen = {name: task.limited(choice, limit) for name, choice in chosen.items()}
    own = {"budget": given.budget, "seeds": given.seeds, "solver": given.solver}
    return {name: task.where_it_has(choice, own) for name, choice in chosen.items()}


def _lacks(name: str, choice: Choice, library: Library) -> Steps:
    """What is absent for a task. Data that is there and damaged is left to the task, which fails alone."""
    try:
        return absent_data({name: choice}, library)
    except RecipeError:
        raise
    except VltkError:
        return []
    finally:
        library.forget()


def _merged(steps: Steps) -> Steps:
    """Each once, and all downloads of official files in one command."""
    fetched = {step: match for step in steps if (match := FETCH.fullmatch(step[1]))}
    names = list(dict.fromkeys(match[1] for match in fetched.values()))
    others = [step for step in dict.fromkeys(steps) if step not in fetched]
    if not names:
        return others
    where = next(iter(fetched.values()))[2] or ""
    return [(f"official files of {', '.join(names)}", f"vltk eval --fetch {','.join(names)}{where}"), *others]


def _evaluate_run(
    place: Place, chosen: Mapping[str, Choice], given: Options, library: Library, since: float
) -> list[Evaluation]:
    """Scores one run; each task is on disk before the next one starts."""
    from vltk import dist
    from vltk.eval.features import Subject
    from vltk.eval.progress import Progress
    from vltk.eval.store import FeatureStore

    trained = run.load(place.spec)
    if place.fresh:
        fresh = Subject(trained, given.seed).model(random_weights=True)
        trained = replace(trained, model=fresh, name=f"{trained.name}, {RANDOM}", step=0, fresh=True)
    trained.model.to(dist.device())
    cache = os.environ.get(CACHE)
    store = FeatureStore(Path(cache) if cache else place.home / "features") if given.store else None
    with undisturbed(trained.model), Progress(trained.name) as progress:
        subject = Subject(trained, given.seed, library, store, _features(chosen), progress.watch)
        return Queue(place.home, chosen, subject, progress, since, given.redo).work()


def _features(chosen: Mapping[str, Choice]) -> dict[str, list[str]]:
    """By data set, what of its images the tasks read: it is made in one pass."""
    found: dict[str, list[str]] = {}
    for choice in chosen.values():
        for data, names in getattr(choice.build(), "features", {}).items():
            found[data] = sorted({*found.get(data, []), *names})
    return found


def _outcome(
    found: Sequence[Sequence[Evaluation]], suite: str | None, protocol: str, absent: Sequence[str], library: Library
) -> Outcome:
    """What was found of each run, as tables and against the first run."""
    tables = [Table.of(one, protocol, absent) for one in found]
    compared = contrasts(found) if len(found) > 1 else []
    return Outcome(Path(suite).stem if suite else "tasks", found, tables, compared, library)


def _tell(made: Outcome, homes: Sequence[Place], report: Callable[[Outcome], Path] | None) -> None:
    """The tables on the terminal, and as files beside the evaluations; of several runs what differs, in contrasts.json
    of the first one; the report, where one is wanted."""
    for table, place in zip(made.tables, homes, strict=True):
        _show(table, place, made.title)
    if len(made.tables) > 1:
        with whole(homes[0].home / FOLDER / "contrasts.json") as part:
            part.write_text(json.dumps([row.record() for row in made.contrasts], indent=1) + "\n", encoding="utf-8")
        print_grid(sheet(made.contrasts, made.labels[0]).grid())
    if report is not None:
        say(f"report: {report(made)}")


def _show(made: Table, place: Place, title: str) -> None:
    step = None if place.fresh else run.split_step(place.spec)[1]
    written = made.write(place.home / FOLDER / (f"step-{step}" if step is not None else ""), title)
    if made.lines:
        print_grid(made.sheet().grid())
    for line in made.remarks():
        say(line)
    say(f"table: {written}")


def _score(name: str, choice: Choice, subject: Any) -> list[Row]:
    start = time.perf_counter()
    scores = choice.build()(subject)
    seconds = time.perf_counter() - start
    trained = subject.trained
    return [
        results.row(score, task=name, seed=subject.seed, run=trained.name, step=trained.step, seconds=seconds)
        for score in scores
    ]
