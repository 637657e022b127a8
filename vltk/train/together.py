"""Work that all processes wait for, of the main one or of each: where it fails all leave, and who failed says why."""

from __future__ import annotations

from collections.abc import Callable

import torch

from vltk import dist, pulse


class Elsewhere(Exception):
    """Another process, mostly the main one, failed and says why itself; this one ends with the same exit code."""

    ends = "echo"

    def __init__(self, exit_code: int) -> None:
        super().__init__("another process failed")
        self.exit_code = exit_code


def on_main(work: Callable[[], object]) -> None:
    """Runs `work` on the main process; returns on every rank once it is done.

    Raises what it raised there, and Elsewhere on the other ranks, which would else wait for the main process for ever.
    """
    on_all(lambda: work() if dist.is_main() else None)


def decided(work: Callable[[], bool]) -> bool:
    """What `work` says on the main process, on every rank; raises as `on_main` does."""
    said: list[bool] = []
    on_main(lambda: said.append(work()))
    return bool(dist.sum_over_ranks(torch.tensor(int(any(said)), device=dist.device())))


def on_all(work: Callable[[], object]) -> None:
    """Runs `work` on each process; returns on every rank once all are done.

    Raises what it raised here, and Elsewhere where it failed on another rank alone.
    """
    error: Exception | None = None
    with pulse.patient():
        try:
            work()
        except Exception as caught:  # raised below, once the others know
            error = caught
        code = 0 if error is None else getattr(error, "exit_code", 1)
        told = int(dist.sum_over_ranks(torch.tensor([code], device=dist.device())))
    if error is not None:
        raise error
    if told:
        raise Elsewhere(told)
