"""The folder of a run's checkpoints: which there are, and which of them are as they were written."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vltk.errors import VltkError
from vltk.whole import differs

FORMAT = 2  # 1: whole tensors in weights.safetensors and moments.safetensors, written by one process
STATE = "state.json"
_NAME = re.compile(r"step-(\d+)")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose files are as they were written, and what is wrong with the newer ones, a line each."""

    path: Path
    step: int
    damaged: tuple[str, ...]

    @property
    def warnings(self) -> list[str]:
        """What a user should hear of that."""
        return [f"{line}; taking the older checkpoint of step {self.step}" for line in self.damaged]


def path_of(folder: Path, step: int) -> Path:
    """Where the checkpoint of a step lies."""
    return folder / f"step-{step:08d}"


def part_of(folder: Path, step: int) -> Path:
    """Where it lies until it is complete."""
    return folder / f"step-{step:08d}.part"


def paths(folder: Path) -> list[Path]:
    """Complete checkpoints, newest first: by their steps, as clocks jump."""
    if not folder.is_dir():
        return []
    return sorted((path for path in folder.iterdir() if _NAME.fullmatch(path.name)), key=step_of, reverse=True)


def steps(folder: Path) -> list[int]:
    """The steps of which there is a checkpoint, newest first."""
    return [step_of(path) for path in paths(folder)]


def step_of(path: Path) -> int:
    return int(path.name.removeprefix("step-"))


def newest_good(
    folder: Path, found: Sequence[Path] | None = None, damage_of: Callable[[Path], str | None] | None = None
) -> Checkpoint | None:
    """The newest checkpoint whose sizes and checksums are right; None where there is no checkpoint.

    found, damage_of: what `paths` and `damage` say, where several processes find it out together.
    Raises VltkError where there are some and all are damaged.
    """
    damaged: list[str] = []
    for path in paths(folder) if found is None else found:
        if (wrong := (damage_of or damage)(path)) is None:
            return Checkpoint(path, step_of(path), tuple(damaged))
        damaged.append(f"{path}: {wrong}")
    if damaged:
        lines = "\n".join(f"  {line}" for line in damaged)
        raise VltkError(f"no good checkpoint:\n{lines}\n  to start anew, delete {folder}")
    return None


def files_of(path: Path) -> list[str]:
    """The names of a checkpoint's files; none where it does not say them any more."""
    try:
        return sorted(_described(path)["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return []


def damage(path: Path, names: Collection[str] | None = None) -> str | None:
    """What is wrong with a checkpoint's files, or those of these names; None where nothing is."""
    try:
        described = _described(path)
        if mark(described) != described["sha256"]:
            return f"{STATE} does not have its checksum"
        for name, written in described["files"].items():
            if names is not None and name not in names:
                continue
            if wrong := differs(path / name, written):
                return wrong
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"unreadable ({error})"
    return None


def mark(described: Mapping[str, Any]) -> str:
    """The checksum of what state.json says; in format 1 of its facts alone."""
    said = {key: value for key, value in described.items() if key != "sha256"}
    covered = said if "format" in said else said["facts"]
    return hashlib.sha256(json.dumps(covered, sort_keys=True).encode()).hexdigest()


def _described(path: Path) -> Any:
    return json.loads((path / STATE).read_text(encoding="utf-8"))
