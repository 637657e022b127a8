"""`vltk eval`: says at once what is missing, then scores each run on each task, into its results.jsonl."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from vltk import __version__, parts, run
from vltk.errors import Missing, RecipeError
from vltk.eval import results, task
from vltk.eval.results import Row
from vltk.eval.sources import Library
from vltk.log import console, say
from vltk.parts import Choice

if TYPE_CHECKING:  # torch takes seconds; what is missing is said before it is imported
    from torch import nn

    from vltk.run import Trained

Steps = list[tuple[str, str]]


def evaluate(
    runs: Sequence[str], suite: str | None = None, tasks: Sequence[str] = (), limit: int | None = None, seed: int = 0
) -> list[Row]:
    """Scores each run (none given: the newest finished one) on the tasks of a suite and on `tasks`; returns all rows.

    Raises RecipeError for unknown names, and Missing with everything that is not there: runs, data, task cards.
    """
    chosen, absent = _chosen(suite, tasks, limit)
    specs, no_run = (list(runs), []) if runs else _newest()
    missing = absent_data(chosen) + no_run + _absent_runs(specs) + absent
    if missing:
        raise Missing("vltk eval cannot start; missing:", missing)
    return [row for spec in specs for row in _evaluate_run(spec, chosen, seed)]


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


def absent_data(tasks: Mapping[str, Choice]) -> Steps:
    """What to bring, and what to type, for the data sets of the tasks that are not on disk; each once."""
    steps: dict[tuple[str, str], None] = {}
    for data in dict.fromkeys(data for choice in tasks.values() for data in choice.build().data_sets):
        steps |= dict.fromkeys(Library().absent(data))
    return list(steps)


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


def _chosen(suite: str | None, tasks: Sequence[str], limit: int | None) -> tuple[dict[str, Choice], Steps]:
    """The tasks by name, and those of the suite that this version has no card for."""
    if suite is None and not tasks:
        have = f"suites: {', '.join(task.suite_names())}; tasks: {', '.join(task.names())}"
        raise RecipeError(f"say what to evaluate with --suite NAME or --tasks NAME,...; have {have}")
    content = None if suite is None else task.suite(suite)
    chosen = task.read([*(content.present() if content else []), *tasks])
    if limit is not None:
        chosen = {name: task.limited(choice, limit) for name, choice in chosen.items()}
    gaps = content.absent() if content else {}
    return chosen, [_not_in_this_version(heading, names) for heading, names in gaps.items()]


def _not_in_this_version(heading: str, names: list[str]) -> tuple[str, str]:
    """What a suite asks for and there is no card of, and what does run instead."""
    what = f"{heading}: {len(names)} tasks that are not in vltk {__version__}: {', '.join(names)}; what runs instead:"
    part = next((part for part in parts.names(task.PROTOCOLS) if part.replace("_", " ") in heading), None)
    return what, f"vltk eval RUN {f'--tasks {task.usage(part)}' if part else '--suite shapes'}"


def _newest() -> tuple[list[str], Steps]:
    """The newest finished run of a model family below ./runs, said aloud; or what to type for one."""
    finished = [path.parent for path in run.RUNS.glob(f"*/*/{run.FACTS_FILE}") if _is_finished_family(path.parent)]
    if not finished:
        return [], [("a finished run: none given, and none below ./runs", "vltk train flava-tiny")]
    newest = max(finished, key=lambda folder: ((folder / run.FACTS_FILE).stat().st_mtime, str(folder)))
    say(f"no run given: taking the newest finished one, {newest}")
    return [str(newest)], []


def _is_finished_family(folder: Path) -> bool:
    """Whether a model family with both encoders, and not a codebook, has been trained here to its end."""
    if run.RunFolder(folder).facts().get("status") != "finished":
        return False
    stage: dict[str, Any] = yaml.safe_load((folder / run.STAGE_FILE).read_text(encoding="utf-8"))
    model = stage["model"]
    both = all(model.get(encoder, True) is not None for encoder in ("image", "text"))
    return both and model["part"] in parts.names("models/families")


def _absent_runs(specs: Sequence[str]) -> Steps:
    steps: Steps = []
    for spec in specs:
        try:
            run.find(spec)
        except Missing as error:
            steps += error.steps
    return steps


def _evaluate_run(spec: str, chosen: Mapping[str, Choice], seed: int) -> list[Row]:
    """Scores one run; each task's rows are on disk before the next task starts."""
    from vltk import dist
    from vltk.eval.features import Subject

    trained = run.load(spec)
    trained.model.to(dist.device())
    rows: list[Row] = []
    with undisturbed(trained.model):
        subject = Subject(trained, seed)
        for name, choice in chosen.items():
            with console.status(f"{trained.name}: {name}"):
                added = _score(name, choice, subject)
            results.append(run.find(spec).path / "results.jsonl", added)
            rows += added
    console.print(results.table(f"{trained.name} at step {trained.step:,}", rows))
    return rows


def _score(name: str, choice: Choice, subject: Any) -> list[Row]:
    start = time.perf_counter()
    scores = choice.build()(subject)
    seconds = time.perf_counter() - start
    trained = subject.trained
    return [
        results.row(score, task=name, seed=subject.seed, run=trained.name, step=trained.step, seconds=seconds)
        for score in scores
    ]
