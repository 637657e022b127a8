"""What the evaluation of one task leaves: a JSON file with all about it, and the answers of every sample (.npz).

`evaluations/TASK-KEY.json` beside the results of a run; KEY is a digest of what was asked: weights, task, options and
seed. It is done when it says so and its data is what lies there now. A failure is TASK-KEY.failed.json, beside what was
done before, until the task is done again.
"""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, cast

import numpy as np

from vltk import __version__
from vltk.errors import VltkError
from vltk.eval.answers import Answers, interval, seed_of
from vltk.eval.content import digest
from vltk.eval.results import Row, Score, row
from vltk.eval.task import names as card_names
from vltk.parts import Choice
from vltk.whole import sync, whole

SCHEMA = 1
FOLDER = "evaluations"
DONE, FAILED = "done", "failed"
HARMLESS = ("seeds=", "solver=", "micro_batch=", "random_weights=", "rerank=", "budget=", "limit=")  # or marked anyway
PACKAGES = ("torch", "numpy", "scipy", "scikit-learn", "opencv-python-headless", "transformers")


@dataclass(frozen=True)
class Asked:
    """A task of a run: its name, protocol and options, and what else decides the result.

    untrained: parts of the model that the task reads and nothing has trained.
    """

    task: str
    choice: Choice
    seed: int
    model: Mapping[str, Any]  # vltk.eval.features.Subject.identity
    nonstandard: bool = False
    untrained: Sequence[str] = ()

    @cached_property
    def facts(self) -> dict[str, Any]:
        options = self.choice.model_dump(mode="json")
        return {
            "schema": SCHEMA,
            "vltk": __version__,
            "task": self.task,
            "protocol": options,
            "seed": self.seed,
            "nonstandard": self.nonstandard,
            "model": dict(self.model),
        }

    @cached_property
    def key(self) -> str:
        return digest(self.facts)

    @property
    def name(self) -> str:
        """Of its files, without ending."""
        return f"{re.sub(r'[^A-Za-z0-9_.-]+', '_', self.task)[:80]}-{self.key}"


@dataclass(frozen=True)
class Evaluation:
    """What was found, as the file has it."""

    path: Path
    content: Mapping[str, Any]

    @property
    def task(self) -> str:
        return str(self.content["task"])

    @property
    def card(self) -> str:
        """The name of its card, without options that were given behind it."""
        return self.task.partition(":")[0]

    @property
    def done(self) -> bool:
        return bool(self.content["status"] == DONE)

    @property
    def rows(self) -> list[Row]:
        return list(self.content["rows"])

    @property
    def error(self) -> str:
        """Why it failed, in one line."""
        return " ".join(str(self.content["error"]).split())

    @property
    def is_comparable(self) -> bool:
        """Whether all samples of official splits were scored."""
        return not self.content.get("marks")

    def metrics(self) -> dict[str, float]:
        return {line["metric"]: line["value"] for line in self.rows}

    def answers(self) -> dict[str, Answers]:
        """By metric. Raises VltkError where the file beside it is gone or damaged."""
        path = self.path.with_suffix(".npz")
        try:
            with np.load(path, allow_pickle=False) as file:
                columns = {name: file[name] for name in file.files}
        except (OSError, ValueError, EOFError) as error:
            raise VltkError(f"{path}: the answers of {self.task} cannot be read ({error}); --redo makes them") from None
        named: dict[str, dict[str, Any]] = {}
        for name, column in columns.items():
            group, _, own = name.rpartition("/")
            named.setdefault(group, {})[own] = column
        given = self.content["answers"]
        return {metric: Answers(name, named[name]) for metric, name in given.items()}


def read(folder: Path, asked: Asked) -> Evaluation | None:
    """What was found; None where there is nothing, or a file that cannot be read."""
    return _read(folder / f"{asked.name}.json")


def read_failure(folder: Path, asked: Asked) -> Evaluation | None:
    """How it failed after it was last done; None where it did not."""
    return _read(_failure(folder, asked))


def _read(path: Path) -> Evaluation | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return Evaluation(path, content) if content.get("schema") == SCHEMA else None


def write(
    folder: Path, asked: Asked, scores: Sequence[Score], data: Mapping[str, Any], run: str, step: int, seconds: float
) -> Evaluation:
    """The scores of a task, each with its 95 % interval: first the answers, then the file that says it is done."""
    rows, answers, methods = [], dict[str, Answers](), dict[str, str]()
    for score in scores:
        found = interval(score.metric, score.value, score.n, score.answers, seed_of(asked.task, asked.seed))
        line = row(score, task=asked.task, seed=asked.seed, run=run, step=step, seconds=seconds)
        if found is not None:
            line["interval"], methods[score.metric] = [found.low, found.high], found.method
        rows.append(line | {"key": asked.key})
        if score.answers is not None:
            answers[score.metric] = score.answers
    content = {
        **asked.facts,
        "status": DONE,
        "run": run,
        "step": step,
        "data": dict(data),
        "marks": marks(asked, data),
        "rows": rows,
        "interval_methods": methods,
        "answers": {metric: one.name for metric, one in answers.items()},
        "seconds": round(seconds, 3),
        "environment": environment(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    columns = {f"{one.name}/{name}": column for one in answers.values() for name, column in one.columns.items()}
    with whole(folder / f"{asked.name}.npz") as part, part.open("wb") as file:
        np.savez_compressed(file, **cast(Any, columns))
    made = _written(folder / f"{asked.name}.json", content)
    drop_failure(folder, asked)
    return made


def write_failure(folder: Path, asked: Asked, error: Exception, trace: str, run: str, step: int) -> Evaluation:
    """That it failed, and how; what was done before stays, and the next call tries again."""
    told = {"error": str(error) or type(error).__name__, "kind": type(error).__name__, "traceback": trace}
    content = {**asked.facts, "status": FAILED, "run": run, "step": step, "rows": [], **told}
    folder.mkdir(parents=True, exist_ok=True)
    return _written(_failure(folder, asked), content | {"environment": environment()})


def drop_failure(folder: Path, asked: Asked) -> None:
    """Once the task is done."""
    _failure(folder, asked).unlink(missing_ok=True)


def marks(asked: Asked, data: Mapping[str, Any]) -> list[str]:
    """Why it may not be compared with published figures, in words."""
    limit = getattr(asked.choice, "limit", None)
    told = [] if limit is None else [f"limit {limit:,}"]
    budget = getattr(asked.choice, "budget", "full")  # of fine-tunings
    told += [] if budget == "full" else [f"budget {budget}"]
    name, _, options = asked.task.partition(":")
    changed = options.split(":") if options and name in card_names() else []
    told += [option for option in changed if not option.startswith(HARMLESS)]
    told += [f"{part} was never trained" for part in asked.untrained]
    return told + (["not the official samples"] if any(not one.get("official", True) for one in data.values()) else [])


def environment() -> dict[str, Any]:
    """What it ran on."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {"host": os.uname().nodename, "device": _device(), "versions": versions}


def labels(found: Sequence[Sequence[Evaluation]]) -> list[str]:
    """What each run is called beside the others: its name, with the step where several of one name stand there."""
    names = [str(one[0].content["run"]) for one in found]
    return [
        f"{name}@{one[0].content['step']}" if names.count(name) > 1 else name
        for name, one in zip(names, found, strict=True)
    ]


def _device() -> str:
    torch = sys.modules.get("torch")
    return torch.cuda.get_device_name() if torch is not None and torch.cuda.is_available() else "cpu"


def _failure(folder: Path, asked: Asked) -> Path:
    return folder / f"{asked.name}.failed.json"


def _written(path: Path, content: dict[str, Any]) -> Evaluation:
    with whole(path) as part:
        part.write_text(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    sync(path.parent)
    return Evaluation(path, json.loads(path.read_text(encoding="utf-8")))
