"""Works through tasks, longest first: what is done stays, what fails is noted, several processes share the rest."""

from __future__ import annotations

import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vltk.errors import RecipeError, VltkError
from vltk.eval import claims, evaluation, results
from vltk.eval.datasets._card import card_names, load_card
from vltk.eval.evaluation import Asked, Evaluation
from vltk.eval.sources import OFFICIAL, WHOLE
from vltk.log import warn
from vltk.parts import Choice

if TYPE_CHECKING:
    from vltk.eval.features import Subject
    from vltk.eval.progress import Progress

PAUSE = 0.5  # seconds between two looks at what others do


class TasksFailed(VltkError):
    """Some tasks could not be evaluated; all the others were."""

    exit_code = 2


@dataclass
class Queue:
    """The tasks of one run. `home` is its folder, which has results.jsonl and the folder of evaluations.

    What has been written there after `since`, by the clock of the folder, is settled: done, or failed once.
    """

    home: Path
    tasks: Mapping[str, Choice]
    subject: Subject
    progress: Progress
    since: float
    redo: bool = False
    found: dict[str, Evaluation] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder = self.home / evaluation.FOLDER
        self.folder.mkdir(parents=True, exist_ok=True)
        nonstandard, identity = self.subject.library.nonstandard, self.subject.identity
        self.asked = {
            name: Asked(name, choice, self.subject.seed, identity, nonstandard, self._untrained(choice))
            for name, choice in self.tasks.items()
        }

    def _untrained(self, choice: Choice) -> list[str]:
        return self.subject.never_trained(getattr(choice.build(), "reads", []))

    def work(self) -> list[Evaluation]:
        """Evaluates what is not done, or waits for others to; all of it, in the order of the tasks."""
        left = sorted(self.tasks, key=lambda name: -cost(self.tasks[name]))
        self.progress.begin({name: cost(self.tasks[name]) for name in left})
        while left:
            before = len(left)
            for name in list(left):
                if self._settled(name) or self._tried(name):
                    left.remove(name)
            if len(left) == before:
                self.progress.waiting(left)
                time.sleep(PAUSE)
        return [self.found[name] for name in self.tasks]

    def _settled(self, name: str) -> bool:
        """Whether another process has evaluated it since this one began."""
        for read in (evaluation.read, evaluation.read_failure):
            there = read(self.folder, self.asked[name])
            if there is not None and there.path.stat().st_mtime >= self.since:
                self._take(name, there, "by another process")
                return True
        return False

    def _tried(self, name: str) -> bool:
        """Evaluates it unless another process is at it; whether that was so."""
        asked = self.asked[name]
        with claims.claimed(self.folder / f"{asked.name}.claim") as ours:
            if not ours:
                return False
            if self._settled(name):
                return True
            self._evaluate(name, asked)
        return True

    def _evaluate(self, name: str, asked: Asked) -> None:
        from vltk.train.signals import Stopped  # torch is imported by now

        trained, start = self.subject.trained, time.perf_counter()
        protocol = asked.choice.build()
        self.progress.start(name)
        try:
            data = {one: self.subject.library.open(one).fingerprint for one in protocol.data_sets}
            there = None if self.redo else evaluation.read(self.folder, asked)
            if there is not None and there.done and there.content["data"] == data:
                evaluation.drop_failure(self.folder, asked)
                self._take(name, there, "done before")
                return
            scores = protocol(self.subject)
            seconds = time.perf_counter() - start
            made = evaluation.write(self.folder, asked, scores, data, trained.name, trained.step, seconds)
            self._take(name, made, "")
        except Stopped:  # a fine-tuning that was asked to stop, and is saved
            raise
        except Exception as error:
            trace = traceback.format_exc()
            made = evaluation.write_failure(self.folder, asked, error, trace, trained.name, trained.step)
            self._take(name, made, "")
        finally:
            self.subject.forget()

    def _take(self, name: str, made: Evaluation, how: str) -> None:
        self.found[name] = made
        if made.done:
            results.append(self.home / results.FILE, made.rows, once=True)
        self.progress.end(name, made, how)
        if not made.done:
            warn(f"{made.content['run']}: {name} failed: {made.content['error']}")


def failures(found: Sequence[Evaluation]) -> list[str]:
    """A line each."""
    return [f"{one.content['run']}: {one.task}: {one.error}" for one in found if not one.done]


def cost(choice: Choice) -> float:
    """How long a task takes beside others, in images that are encoded; a protocol may say it itself (`cost`), or for
    how many of them a sample stands (`weight`)."""
    protocol: Any = choice.build()
    if hasattr(protocol, "cost"):
        return float(protocol.cost)
    limit = getattr(protocol, "limit", None)
    sizes = [_size(data) for data in protocol.data_sets]
    return float(getattr(protocol, "weight", 1) * sum(size if limit is None else min(size, limit) for size in sizes))


def _size(data: str) -> int:
    """Samples of a data set, by its card or its manifest; of a part of an official split about as many as the whole."""
    if not data.startswith(OFFICIAL):
        from vltk.data.dataset import open_dataset

        return len(open_dataset(data))
    name, _, split = data.removeprefix(OFFICIAL).partition("?")[0].partition("/")
    if name not in card_names():
        raise RecipeError(f"no official data set '{name}'")
    counts = load_card(name).counts
    return counts.get(split, counts.get(WHOLE, max(counts.values())))
