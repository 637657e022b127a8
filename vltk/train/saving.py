"""Saves checkpoints beside training, and finds the one to go on from; every rank does its part."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from copy import deepcopy
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from vltk import checkpoint, dist
from vltk.checkpoint import Piece
from vltk.errors import VltkError
from vltk.recipe import Checkpoints
from vltk.train.together import on_all, on_main

LOOK = 0.05  # seconds between two looks whether all ranks have written
PATIENCE = 20.0  # seconds that a run which ends by an error waits for the files of the other ranks
_BUSY, _DONE, _FAILED = range(3)


class Saver:
    """Writes checkpoints: `save` copies this rank's pieces, a thread writes them, `look` shows its errors later.

    All ranks call the same methods in the same steps. The threads of different ranks meet in the folder alone, never in
    a collective, as those belong to training. One checkpoint is written at a time; the older ones stay until it is
    whole. noted: called with the step on the main process once a checkpoint is whole.
    """

    def __init__(
        self, folder: Path, options: Checkpoints, wanted: Iterable[int] = (), noted: Callable[[int], object] = int
    ) -> None:
        self._folder, self._options, self._wanted, self._noted = folder, options, frozenset(wanted), noted
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._share: Future[None] | None = None  # this rank's file; None where nothing is being written
        self._all: Future[Any] | None = None  # on the main process: the whole checkpoint
        self._step, self._until = 0, math.inf

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finishes what is being written; behind an error without the other ranks, which may be gone."""
        if error is None:
            self.finish()
        self._until = time.monotonic() + PATIENCE
        self._thread.shutdown()
        if self._all is not None and self._all.exception() is None:
            self._noted(self._step)

    def save(self, step: int, pieces: Iterable[Piece], facts: Mapping[str, Any]) -> bool:
        """Begins the checkpoint of a step, once the one before it is whole; False where nothing is written, as there is
        a number in it, on any rank, that is not finite. Raises what `finish` does."""
        self.finish()
        held = checkpoint.snapshot(pieces)
        broken = torch.tensor(sum(not piece.is_finite for piece in held), device=dist.device())
        if dist.sum_over_ranks(broken):
            return False
        on_main(lambda: checkpoint.begin(self._folder, step))
        self._step, self._until = step, math.inf
        self._share = self._thread.submit(checkpoint.write_share, self._folder, step, held, dist.rank())
        if dist.is_main():
            self._all = self._thread.submit(self._complete, step, deepcopy(dict(facts)), dist.world())
        if not self._options.asynchronous:
            self.finish()
        return True

    def look(self) -> None:
        """Ends the checkpoint that is being written, if all ranks are done with it or one has failed; else returns at
        once. Raises what `finish` does."""
        if self._share is None:
            return
        states = dist.gather(torch.tensor([self._state()], device=dist.device()))
        if (states == _FAILED).any() or (states == _DONE).all():
            self.finish()

    def finish(self) -> None:
        """Waits until the checkpoint that is being written is whole. Raises VltkError where it could not be written,
        and Elsewhere on the ranks whose part is good."""
        if self._share is None:
            return
        share, whole, self._share, self._all = self._share, self._all, None, None
        try:
            on_all(share.result)
            on_main(lambda: whole and whole.result())
        except BaseException:
            self._until = -math.inf
            if dist.is_main():
                checkpoint.give_up(self._folder, self._step)
            raise
        on_main(lambda: self._noted(self._step))

    def _state(self) -> int:
        jobs = [job for job in (self._share, self._all) if job is not None]
        if any(job.done() and job.exception() for job in jobs):
            return _FAILED
        return _DONE if all(job.done() for job in jobs) else _BUSY

    def _complete(self, step: int, facts: dict[str, Any], world: int) -> None:
        """On the main process's thread, behind its own file: waits for those of the others and finishes."""
        while not checkpoint.has_shares(self._folder, step, world):
            if time.monotonic() > self._until:
                raise VltkError(
                    f"checkpoint of step {step} not written to {self._folder}: a process left before its file"
                )
            time.sleep(LOOK)
        options = self._options
        checkpoint.finish(self._folder, step, facts, world, options.keep, options.keep_every, self._wanted)


def newest_good(folder: Path, below: float = math.inf) -> checkpoint.Checkpoint | None:
    """`checkpoint.newest_good`, each rank looking at its part of the files; the same on every rank. below: of earlier
    steps than this one."""
    on_main(lambda: checkpoint.restore(folder))
    steps = [step for step in json.loads(dist.told(json.dumps(checkpoint.steps(folder)))[0]) if step < below]
    return checkpoint.newest_good(folder, [checkpoint.path_of(folder, step) for step in steps], _damage)


def _damage(path: Path) -> str | None:
    """What is wrong with a checkpoint in the eyes of any rank."""
    mine = checkpoint.files_of(path)[dist.rank() :: dist.world()]
    return next((said for said in dist.told(checkpoint.damage(path, mine) or "") if said), None)
