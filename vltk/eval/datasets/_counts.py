"""Whether a split is the official one, by its number of samples."""

from __future__ import annotations

from collections.abc import Mapping

from vltk.errors import VltkError
from vltk.eval.datasets._card import load_card


def counts_of(name: str) -> Mapping[str, int]:
    """The official number of samples of each split, by the data card."""
    return load_card(name).counts


def require_count(name: str, split: str, found: int, nonstandard: bool) -> None:
    """Raises VltkError where the data card `name` counts otherwise, unless `nonstandard`; or where there is nothing."""
    official = counts_of(name).get(split)
    if not found:
        raise VltkError(f"{name} {split}: no samples")
    if official not in (None, found) and not nonstandard:
        raise VltkError(
            f"{name} {split}: {found:,} samples, the official split has {official:,}; "
            "scores on another number are not comparable: --allow-nonstandard evaluates it all the same"
        )


def require_split(name: str, split: str, have: tuple[str, ...]) -> None:
    """Raises VltkError for a split that the data set does not have."""
    if split not in have:
        raise VltkError(f"{name}: no split {split!r}; have: {', '.join(have)}")
