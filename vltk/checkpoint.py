"""Checkpoints: safetensors and JSON, written whole or not at all, never pickled.

`step-00001000/` holds weights.safetensors, moments.safetensors (all other kinds of tensors, keyed `kind/name`) and
state.json (step, facts, and size and sha256 of the other two). It is written as `step-00001000.part`, forced to disk
and renamed, so that a folder without the suffix is complete unless the disk damaged it later.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from vltk.errors import VltkError
from vltk.whole import sync

_FILES = _WEIGHTS, _MOMENTS = "weights.safetensors", "moments.safetensors"
_STATE = "state.json"
_NAME = re.compile(r"step-(\d+)")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose files are as they were written, and what is wrong with the newer ones, a line each."""

    path: Path
    step: int
    damaged: tuple[str, ...]


def save(
    folder: Path,
    step: int,
    tensors: dict[str, dict[str, Tensor]],
    facts: dict[str, Any],
    keep: int,
    wanted: Collection[int] = (),
) -> Path:
    """Writes `folder/step-...` and deletes all but the newest `keep` and the `wanted`; for the main process alone.

    tensors: kind -> name -> CPU tensor, among the kinds "weights"; facts: plain data.
    Raises VltkError where writing fails; older checkpoints are then as they were.
    """
    final = folder / f"step-{step:08d}"
    part = final.with_suffix(".part")
    try:
        _clear(folder)
        part.mkdir(parents=True)
        _write(part, step, tensors, facts)
        _replace(part, final)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(part, ignore_errors=True)
        last = _last(folder)
        raise VltkError(
            f"checkpoint of step {step} not written to {folder}: {error}\n"
            + (f"  {last.name} is untouched: free space and start again to go on from it" if last else "  free space")
        ) from error
    for old in _steps(folder)[keep:]:
        if _step(old) not in wanted:
            shutil.rmtree(old)
    return final


def steps(folder: Path) -> list[int]:
    """The steps of which there is a checkpoint, newest first."""
    return [_step(path) for path in _steps(folder)]


def newest_good(folder: Path) -> Checkpoint | None:
    """The newest checkpoint whose sizes and checksums are right; None where there is no checkpoint.

    Raises VltkError where there are some and all are damaged.
    """
    damaged: list[str] = []
    for path in _steps(folder):
        if (wrong := _damage(path)) is None:
            return Checkpoint(path, _step(path), tuple(damaged))
        damaged.append(f"{path}: {wrong}")
    if damaged:
        lines = "\n".join(f"  {line}" for line in damaged)
        raise VltkError(f"no good checkpoint:\n{lines}\n  to start anew, delete {folder}")
    return None


def load(path: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """The tensors and facts of a checkpoint, as they were saved."""
    tensors: dict[str, dict[str, Tensor]] = {"weights": load_file(path / _WEIGHTS)}
    described = json.loads((path / _STATE).read_text(encoding="utf-8"))
    tensors |= {kind: {} for kind in described["kinds"]}
    for key, tensor in load_file(path / _MOMENTS).items():
        kind, _, name = key.partition("/")
        tensors[kind][name] = tensor
    return tensors, described["facts"]


def _write(part: Path, step: int, tensors: dict[str, dict[str, Tensor]], facts: dict[str, Any]) -> None:
    """The three files and their folder, forced to disk."""
    others = {kind: named for kind, named in tensors.items() if kind != "weights"}
    save_file(tensors["weights"], part / _WEIGHTS)
    save_file({f"{kind}/{name}": t for kind, named in others.items() for name, t in named.items()}, part / _MOMENTS)
    files = {name: {"bytes": (part / name).stat().st_size, "sha256": _digest(part / name)} for name in _FILES}
    described = {"step": step, "kinds": list(others), "facts": facts, "sha256": _mark(facts), "files": files}
    (part / _STATE).write_text(json.dumps(described, indent=1), encoding="utf-8")
    for path in (*(part / name for name in (*_FILES, _STATE)), part):
        sync(path)


def _replace(part: Path, final: Path) -> None:
    """Renames the finished folder; one of the same step, from before a restart, makes room."""
    if final.exists():
        os.rename(final, final.with_suffix(".old.part"))
    os.rename(part, final)
    sync(final.parent)
    shutil.rmtree(final.with_suffix(".old.part"), ignore_errors=True)


def _clear(folder: Path) -> None:
    """Removes what a killed save left behind."""
    for left in folder.glob("step-*.part"):
        shutil.rmtree(left)


def _damage(path: Path) -> str | None:
    """What is wrong with a checkpoint's files; None where nothing is."""
    try:
        described = json.loads((path / _STATE).read_text(encoding="utf-8"))
        if _mark(described["facts"]) != described["sha256"]:
            return f"{_STATE} does not have its checksum"
        files = described["files"]
        for name in _FILES:
            if (size := (path / name).stat().st_size) != files[name]["bytes"]:
                return f"{name} has {size} bytes instead of {files[name]['bytes']}"
            if _digest(path / name) != files[name]["sha256"]:
                return f"{name} does not have its checksum"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"unreadable ({error})"
    return None


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _mark(facts: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _steps(folder: Path) -> list[Path]:
    """Complete checkpoints, newest first."""
    if not folder.is_dir():
        return []
    return sorted((path for path in folder.iterdir() if _NAME.fullmatch(path.name)), key=_step, reverse=True)


def _last(folder: Path) -> Path | None:
    return next(iter(_steps(folder)), None)


def _step(path: Path) -> int:
    return int(path.name.removeprefix("step-"))
