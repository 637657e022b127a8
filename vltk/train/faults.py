"""Steps that go wrong: a loss or gradient that is no number, and losses far above the usual.

All that is decided here follows from figures that every rank has, and what it depends on is part of each checkpoint: a
run that goes on skips, goes back and notes what an unbroken one does.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import torch

from vltk import dist
from vltk.checkpoint import Checkpoint, set_aside
from vltk.errors import VltkError
from vltk.log import JsonLines, warn
from vltk.recipe import Faults
from vltk.train.accumulate import Record
from vltk.train.saving import newest_good
from vltk.train.together import on_main

WINDOW = 1000  # steps, among which so many may be skipped
FILE = "spikes.jsonl"
SETTLED = 50  # steps of a stream before its usual loss is known
MEMORY = 0.98  # share of the usual loss that the next step leaves


class RollBack(Exception):
    """The run is to go back to its last good checkpoint and on from there with other draws."""


@dataclass
class Usual:
    """The running mean and variance of a stream's loss."""

    count: int = 0
    mean: float = 0.0
    variance: float = 0.0

    def is_spike(self, loss: float, deviations: float) -> bool:
        return self.count >= SETTLED and loss > self.mean + deviations * math.sqrt(self.variance)

    def add(self, loss: float) -> None:
        """Means over the first steps, then over about the last 1 / (1 - MEMORY)."""
        self.count += 1
        share = max(1 / self.count, 1 - MEMORY)
        apart = loss - self.mean
        self.mean += share * apart
        self.variance = (1 - share) * (self.variance + share * apart * apart)


@dataclass
class Watch:
    """Looks at each step of one stage. attempt: how often it has gone back; skipped: the steps of late; returned: the
    step of the checkpoint that it went back to last."""

    name: str
    options: Faults
    folder: Path
    checkpoints: Path
    precision: str = "fp32"
    attempt: int = 0
    skipped: list[int] = field(default_factory=list)
    usual: dict[str, Usual] = field(default_factory=dict)
    returned: int | None = field(default=None, compare=False)
    fault: str = field(default="", compare=False)  # the last, in words

    def facts(self) -> dict[str, Any]:
        """What a checkpoint keeps of it."""
        return {
            "attempt": self.attempt,
            "skipped": list(self.skipped),
            "usual": {stream: vars(usual).copy() for stream, usual in self.usual.items()},
        }

    def recall(self, facts: dict[str, Any]) -> None:
        """The reverse of `facts`, of a checkpoint; an older one knows nothing of it."""
        self.attempt, self.skipped = facts.get("attempt", 0), list(facts.get("skipped", []))
        self.usual = {stream: Usual(**usual) for stream, usual in facts.get("usual", {}).items()}

    def passes(
        self, step: int, stream: str, record: Record, norm: float, overflowed: bool, keys: Sequence[str]
    ) -> bool:
        """Whether the step was sound; False: the engine left it out, as the losses or their gradient are no number.

        norm: of the gradient, over all ranks; overflowed: it is too large for fp16 at the present loss scale alone,
        which is no fault; keys: the samples of this rank.
        """
        names = list(record.losses)
        whole = dist.sum_over_ranks(torch.stack([record.losses[name].float() for name in names])).tolist()
        bad = [name for name, loss in zip(names, whole, strict=True) if not math.isfinite(loss)]
        if not bad and (overflowed or math.isfinite(norm)):
            self._look_at(step, stream, sum(whole), keys)
            return True
        what = f"the loss of {', '.join(bad)} is" if bad else "the losses are finite, but their gradient is"
        self.fault = f"{self.name}, step {step}, stream {stream}: {what} not a finite number"
        self._note({"step": step, "stream": stream, "kind": "skipped", "what": ", ".join(bad) or "gradient"}, keys)
        self.skipped = [*(before for before in self.skipped if before > step - WINDOW), step]
        if not self.is_full:
            number = f"{len(self.skipped)} of at most {self.options.skip} in {WINDOW}"
            warn(f"{self.fault}; the step is left out ({number})")
        return False

    @property
    def is_full(self) -> bool:
        """Whether more steps were left out than the recipe allows."""
        return len(self.skipped) > self.options.skip

    def give_up(self) -> NoReturn:
        """Raises RollBack where the recipe allows it and there is a checkpoint, else VltkError with a diagnosis; every
        rank must call it.

        A checkpoint from which it came to the same end twice is set aside for the one before it.
        """
        newest = newest_good(self.checkpoints)
        if newest is not None and self.attempt < self.options.rollbacks:
            if newest.step == self.returned:
                newest = self._one_before(newest)
            self.returned = newest.step
            number = f"{self.attempt + 1} of at most {self.options.rollbacks}"
            warn(f"{self.fault}; back to the checkpoint of step {newest.step}, on with other draws ({number})")
            raise RollBack
        kept = f"the checkpoint of step {newest.step} is kept" if newest else "no checkpoint was written yet"
        fp32 = "" if self.precision == "fp32" else ", or set precision=fp32"
        more = f"faults.skip={max(10, 2 * self.options.skip)} faults.rollbacks={self.options.rollbacks + 2}"
        raise VltkError(
            f"{self.fault}; {kept}{self._history()}. "
            f"Lower optimizer.lr, lengthen optimizer.warmup{fp32}, under another name (name=OTHER) or "
            "with --redo; the same command would end here again. Where single samples are to blame "
            f"({self.folder / FILE} lists them), {more} go on from here without them"
        )

    def ruined(self, step: int) -> NoReturn:
        """The weights or moments after the `step`-th step, from 1, are no numbers, so that no checkpoint is written; as
        `give_up`."""
        self.fault = f"{self.name}: after step {step} there are weights or moments that are not finite numbers"
        self.give_up()

    def _one_before(self, newest: Checkpoint) -> Checkpoint:
        """The good checkpoint before the newest, which is then set aside; the newest where there is none."""
        try:
            before = newest_good(self.checkpoints, below=newest.step)
        except VltkError:  # all of them are damaged
            before = None
        if before is None:
            return newest
        warn(f"{self.name}: from the checkpoint of step {newest.step} it came to the same end again; it is set aside")
        on_main(lambda: set_aside(self.checkpoints, newest.step))
        return before

    def roll_back(self, facts: dict[str, Any], attempt: int) -> None:
        """What the checkpoint knew, but for the attempt, which is a new one, and a clean slate of skips."""
        self.recall(facts)
        self.attempt, self.skipped = attempt, []

    def _look_at(self, step: int, stream: str, loss: float, keys: Sequence[str]) -> None:
        usual = self.usual.setdefault(stream, Usual())
        if self.options.spike is not None and usual.is_spike(loss, self.options.spike):
            row = {"step": step, "stream": stream, "kind": "spike", "loss": loss, "usual": usual.mean}
            self._note(row, keys)
            warn(
                f"{self.name}, step {step}, stream {stream}: the loss is {loss:.4f}, usually {usual.mean:.4f}; "
                f"the samples are listed in {self.folder / FILE}"
            )
        usual.add(loss)

    def _note(self, row: dict[str, Any], keys: Sequence[str]) -> None:
        """A row a rank, written by the first, as appending from several hosts loses lines on some shared disks."""
        every = dist.told(json.dumps(list(keys)))
        if dist.is_main():
            for rank, told in enumerate(every):
                own = {"attempt": self.attempt, "rank": rank, "keys": json.loads(told)}
                JsonLines(self.folder / FILE).write(row | own)

    def _history(self) -> str:
        """What was tried before; the last step left out is the fault itself where it was one too many."""
        count = len(self.skipped) - self.is_full
        tried = [f"{count} step{'s' if count > 1 else ''} left out before it"] if count else []
        times = "once" if self.attempt == 1 else f"{self.attempt} times"
        tried += [f"gone back {times} and on with other draws"] if self.attempt else []
        return f"; {' and '.join(tried)}" if tried else ""


def forget(folder: Path, first: int, attempt: int) -> None:
    """Drops what was noted of steps that a run, going on from step `first`, does again."""
    JsonLines(folder / FILE).keep(lambda row: row["step"] < first or row["attempt"] < attempt)
