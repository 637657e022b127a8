"""What a config says that the other side cannot say: each mistake names its key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vltk.errors import VltkError

Pixels = dict[str, tuple[float, ...]]  # mean and std of an image encoder's options, where a folder says them


def differing(place: str, given: Any, wanted: Mapping[str, Any]) -> list[str]:
    """One line a key of `given` (attributes) whose value is not the only one that the other side knows."""
    values = {key: getattr(given, key) for key in wanted}
    return [
        f"{place}.{key}: {values[key]!r} given, only {value!r} can be expressed"
        for key, value in wanted.items()
        if values[key] != value
    ]


def refuse(what: str, problems: list[str]) -> None:
    """Raises VltkError with every problem, if there is one."""
    if problems:
        raise VltkError(f"{what}:\n  " + "\n  ".join(problems))


def side(place: str, config: Any, key: str, problems: list[str]) -> int:
    """A size that may be written as two equal numbers."""
    value = getattr(config, key)
    sides = {value} if isinstance(value, int) else set(value)
    if len(sides) != 1:
        problems.append(f"{place}.{key}: {value!r} given, only squares can be expressed")
    return int(max(sides))
