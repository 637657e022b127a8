"""Reads a checkpoint, of any number of processes, tensor by tensor or run by run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from vltk.checkpoint.folder import FORMAT, STATE
from vltk.errors import VltkError

_KIND_OF = {"weights.safetensors": "weights/"}  # format 1: the file whose keys are names alone


@dataclass(frozen=True)
class _Part:
    """Where a run of a tensor's numbers is."""

    file: Any
    key: str
    start: int
    stop: int


class Saved:
    """The tensors of a checkpoint by kind and name, and its `facts`. Files are mapped: what is not read costs nothing.

    Raises VltkError where the checkpoint is of a later format, or where pieces are missing. Checksums are not looked at
    (`checkpoint.damage`).
    """

    def __init__(self, path: Path) -> None:
        described = json.loads((path / STATE).read_text(encoding="utf-8"))
        if described.get("format", 1) > FORMAT:
            raise VltkError(
                f"{path} is of format {described['format']}, this vltk reads up to {FORMAT}: take a later one"
            )
        self.facts: dict[str, Any] = described["facts"]
        self._shapes: dict[str, dict[str, torch.Size]] = {}
        self._parts: dict[tuple[str, str], list[_Part]] = {}
        for name in described["files"]:
            self._look(path / name)
        for (kind, name), parts in self._parts.items():
            if sum(part.stop - part.start for part in parts) != self._shapes[kind][name].numel():
                raise VltkError(f"{path}: pieces of {kind}/{name} are missing")

    def shapes(self, kind: str) -> dict[str, torch.Size]:
        """By name; empty where the checkpoint has no such kind."""
        return dict(self._shapes.get(kind, {}))

    def read(self, kind: str, name: str, start: int = 0, stop: int | None = None) -> Tensor:
        """The numbers start .. stop - 1 of a flattened tensor, (stop - start,), by default all."""
        parts = self._parts[kind, name]
        stop = self._shapes[kind][name].numel() if stop is None else stop
        found = []
        for part in sorted(parts, key=lambda part: part.start):
            first, last = max(start, part.start), min(stop, part.stop)
            if first < last:
                found.append(part.file.get_tensor(part.key).reshape(-1)[first - part.start : last - part.start])
        return found[0] if len(found) == 1 else torch.cat(found or [part.file.get_tensor(part.key).reshape(-1)[:0]])

    def tensor(self, kind: str, name: str) -> Tensor:
        """A whole tensor."""
        return self.read(kind, name).reshape(self._shapes[kind][name])

    def tensors(self, kind: str) -> dict[str, Tensor]:
        """All of a kind, whole, by name."""
        return {name: self.tensor(kind, name) for name in self.shapes(kind)}

    def _look(self, path: Path) -> None:
        """Notes what a file holds."""
        file = safe_open(path, framework="pt")
        cut = json.loads((file.metadata() or {}).get("pieces", "{}"))
        for key in file.keys():  # noqa: SIM118 (not a mapping)
            kind, _, name = (_KIND_OF.get(path.name, "") + key).partition("/")
            here = torch.Size(file.get_slice(key).get_shape())
            start, *shape = cut.get(key, [0, *here])
            self._shapes.setdefault(kind, {})[name] = torch.Size(shape)
            self._parts.setdefault((kind, name), []).append(_Part(file, key, start, start + here.numel()))
