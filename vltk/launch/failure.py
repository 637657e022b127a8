"""How a rank ended that did not end well, and which of several ends was the first cause."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

Kind = Literal["stopped", "mistake", "crash", "signal", "lost", "silent", "echo"]
FOLDER = "VLTK_FAILURES"  # names the folder where the launcher of this machine looks for what its ranks had to say
CAUSES: tuple[Kind, ...] = (  # the likeliest first
    "mistake", "crash", "signal", "lost", "silent", "stopped", "echo",
)  # fmt: skip
MENDED_BY_A_START = ("crash", "signal", "lost", "silent", "echo")
CUT = 75  # exit code of a rank that was cut off: EX_TEMPFAIL, as another start may well do better


@dataclass(frozen=True)
class Failure:
    """The end of one rank (-1: of a whole host). kind: `stopped` on demand; a `mistake` that the user can mend; a
    `crash`; killed by a `signal`; `lost`, which is frozen, cut off or hung; `silent`, which left nothing but an exit
    code; an `echo` of the failure of another rank.

    when: seconds since the epoch, by the clock of its host. code: the exit code that the command ends with.
    """

    rank: int
    host: str
    kind: Kind
    text: str
    code: int
    when: float

    def told(self) -> str:
        """What the user is shown; a mistake of the first rank speaks for the whole command."""
        if self.kind == "stopped" or (self.kind == "mistake" and self.rank == 0):
            return self.text
        return f"{self.who()}: {self.text}"

    def who(self) -> str:
        return f"rank {self.rank} on {self.host}" if self.rank >= 0 else f"host {self.host}"


def write(failure: Failure, rank: int) -> None:
    """Leaves word of `rank`, which may speak of another one, for the launcher of this machine."""
    part = Path(os.environ[FOLDER]) / f"{rank}.part"
    part.write_text(json.dumps(asdict(failure)))
    part.rename(part.with_suffix(".json"))


def read(folder: Path, rank: int, host: str, code: int, when: float) -> Failure:
    """Why a rank ended with an exit code (negative: a signal): in its own words, or what the code says."""
    path = folder / f"{rank}.json"
    if path.exists():
        return Failure(**json.loads(path.read_text()))
    if code < 0:
        name = signal.Signals(-code).name
        why = "; the memory of the machine may have been short" if -code == signal.SIGKILL else ""
        return Failure(rank, host, "signal", f"was ended by signal {-code} ({name}){why}", 128 - code, when)
    if code in (128 + signal.SIGINT, 128 + signal.SIGTERM):
        return Failure(rank, host, "stopped", "", code, when)
    text = f"ended with exit code {code}{_last_lines(folder / f'{rank}.out')}"
    return Failure(rank, host, "silent", text, code, when)


def first(failures: Sequence[Failure]) -> Failure:
    """The cause of the others: an error with a reason before a death, a death before what it did to the others; what
    several ranks say alike is said by the lowest of them, as the clocks of hosts differ."""
    cause = min(failures, key=lambda failure: (CAUSES.index(failure.kind), failure.when))
    alike = [failure for failure in failures if (failure.kind, failure.text) == (cause.kind, cause.text)]
    return min(alike, key=lambda failure: failure.rank)


def _last_lines(path: Path, count: int = 20) -> str:
    lines = path.read_text(errors="replace").splitlines()[-count:] if path.exists() else []
    return "".join(f"\n  {line}" for line in lines)
