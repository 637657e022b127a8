"""Work of the main process that the others wait for: where it fails, all leave at once, and only one says why."""

from __future__ import annotations

from collections.abc import Callable

import torch

from vltk import dist


class Elsewhere(Exception):
    """The main process failed and says why itself; this one ends with the same exit code."""

    def __init__(self, exit_code: int) -> None:
        super().__init__("the main process failed")
        self.exit_code = exit_code


def on_main(work: Callable[[], object]) -> None:
    """Runs `work` on the main process; returns on every rank once it is done.

    Raises what it raised there, and Elsewhere on the other ranks, which would else wait for the main process for ever.
    """
    error: Exception | None = None
    if dist.is_main():
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
