"""Ctrl-C and SIGTERM ask the loop to stop after the current step; a second Ctrl-C does not wait."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Self

import torch

from vltk import dist


class Stopped(Exception):
    """The run was asked to stop and has saved; `exit_code` is 130 for Ctrl-C and 143 for SIGTERM."""

    ends = "stopped"

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


class Signals:
    """A context in which signals are remembered instead of obeyed."""

    def __init__(self) -> None:
        self.received = 0

    def __enter__(self) -> Self:
        self.previous = {number: signal.signal(number, self._remember) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)

    def asked(self) -> int:
        """The signal that any rank received, 0 for none; the same answer on each rank."""
        if dist.world() == 1:
            return self.received
        seen = dist.gather(torch.tensor([self.received], device=dist.device()))
        return int(seen.max())

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self.received:
            signal.signal(number, self.previous[signal.Signals(number)])
            signal.raise_signal(number)
        self.received = number
