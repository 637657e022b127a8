"""What a check found: pass, warn or fail, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

from vltk.log import console

State = Literal["pass", "warn", "fail"]
COLOURS: dict[State, str] = {"pass": "green", "warn": "yellow", "fail": "red"}


@dataclass(frozen=True)
class Finding:
    """One line of `vltk doctor`; `remedy` is empty where nothing is to be done."""

    state: State
    what: str
    found: str
    remedy: str = ""

    @classmethod
    def good(cls, what: str, found: str) -> Self:
        return cls("pass", what, found)

    @classmethod
    def warn(cls, what: str, found: str, remedy: str) -> Self:
        return cls("warn", what, found, remedy)

    @classmethod
    def fail(cls, what: str, found: str, remedy: str) -> Self:
        return cls("fail", what, found, remedy)

    def show(self) -> None:
        """`pass  what  found`, the remedy on a line of its own."""
        console.print(self.state, style=COLOURS[self.state], end="")
        console.print(f"  {self.what:<22} {self.found}", markup=False)
        if self.remedy:
            console.print(f"      {'':<22} -> {self.remedy}", markup=False)
