"""Samples that repeat others, in a data set, across data sets and against evaluation sets, as skip lists.

Of samples with the same original bytes, and of pictures whose difference hashes are near and that are the same at a
second look, the first is kept: those of the evaluation sets in any case, then in the order of the data sets given, then
by position. Nothing is deleted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from vltk.data import skip
from vltk.data.bar import Bar
from vltk.data.inspect.near import repeats
from vltk.data.inspect.prints import Prints, take_prints
from vltk.data.inspect.second_look import SecondLook
from vltk.data.remote import is_remote
from vltk.data.skip import Skip
from vltk.errors import VltkError

MOST = 8  # bits of distance; beyond, nearly every picture of millions has a neighbour
REASONS = ("", "exact", "near")  # by number


@dataclass(frozen=True)
class Deduplicated:
    """The outcome for one data set: its samples, those now left out by reason, and by the data set they repeat."""

    name: str
    samples: int
    reasons: dict[str, int]
    of: dict[str, int]

    @property
    def skipped(self) -> int:
        return sum(self.reasons.values())

    def __str__(self) -> str:
        counts = ", ".join(f"{count:,} {reason}" for reason, count in sorted(self.reasons.items()))
        of = ", ".join(f"{count:,} of {name}" for name, count in self.of.items())
        if not self.skipped:
            return f"{self.name}: none of {self.samples:,} samples repeats another"
        told = f"{self.name}: {self.skipped:,} of {self.samples:,} samples are left out from now on"
        return f"{told} ({counts}; they repeat {of}); vltk data dedup {self.name} --undo takes it back"


@dataclass(frozen=True)
class _Found:
    """By position over all data sets: the sample that is repeated (-1: none), number of the reason, the distance."""

    of: np.ndarray
    reason: np.ndarray
    apart: np.ndarray


def dedup(names: Sequence[str], against: Sequence[str] = (), distance: int | None = 4) -> list[Deduplicated]:
    """Write the skip list of each of `names`, in place of the one before; one outcome a data set.

    `distance` is the number of bits, of 64, by which the hashes of two pictures may differ; None compares bytes alone.
    Raises Missing when a data set is not on disk, VltkError for names given twice or a distance beyond 8.
    """
    _check(names, against, distance)
    every = [take_prints(name) for name in (*against, *names)]
    starts = np.array([0, *accumulate(len(prints) for prints in every)])
    found = _compare(every, starts, int(starts[len(against)]), distance)
    keys = _keys(every, starts, found.of)
    outcomes = []
    for number in range(len(against), len(every)):
        begin, dataset = int(starts[number]), every[number].dataset
        skipped = np.flatnonzero(found.of[begin : starts[number + 1]] >= 0) + begin
        skip.write(dataset.folder, _skips(skipped, begin, found, keys))
        reasons = Counter(REASONS[reason] for reason in found.reason[skipped].tolist())
        sources = np.searchsorted(starts, found.of[skipped], side="right") - 1
        of = Counter(every[source].dataset.name for source in sources.tolist())
        outcomes.append(Deduplicated(dataset.name, len(every[number]), dict(reasons), dict(of)))
    return outcomes


def _check(names: Sequence[str], against: Sequence[str], distance: int | None) -> None:
    twice = [name for name, count in Counter((*names, *against)).items() if count > 1]
    if twice:
        raise VltkError(f"{', '.join(twice)}: given twice; a data set is either thinned out or compared against")
    if distance is not None and not 0 <= distance <= MOST:
        raise VltkError(f"--distance {distance}: 0 to {MOST} bits")
    if remote := [name for name in names if is_remote(name)]:
        raise VltkError(
            f"{', '.join(remote)}: a skip list is written beside a data set on disk; a URL can stand in --against"
        )


def _compare(every: list[Prints], starts: np.ndarray, fixed: int, distance: int | None) -> _Found:
    of = _first_equal(np.concatenate([prints.exact for prints in every]), fixed)
    reason, apart = (of >= 0).astype(np.int8), np.zeros(len(of), np.int64)
    if distance is None:
        return _Found(of, reason, apart)
    left = np.flatnonzero(np.concatenate([prints.has_look for prints in every]) & (of < 0))
    looks = np.concatenate([prints.look for prints in every])[left]
    second = SecondLook([prints.dataset for prints in every], starts)
    with Bar("compare", len(looks)) as bar:
        near = repeats(
            looks,
            distance,
            int(np.searchsorted(left, fixed)),
            lambda later, earlier: second.same(left[later], left[earlier]),
            lambda done: _tell(bar, done),
        )
    skipped = np.flatnonzero(near >= 0)
    of[left[skipped]], reason[left[skipped]] = left[near[skipped]], 2
    apart[left[skipped]] = np.bitwise_count(looks[skipped] ^ looks[near[skipped]])
    return _Found(of, reason, apart)


def _tell(bar: Bar, done: int) -> None:
    if bar.due():
        bar.show(done, f"{done:,} pictures")


def _first_equal(exact: np.ndarray, fixed: int) -> np.ndarray:
    """The first position with the same bytes; -1 for itself, for the first `fixed`, and where no bytes are known."""
    _, first, group = np.unique(exact, return_index=True, return_inverse=True)
    of = first[group].astype(np.int64)
    of[:fixed] = -1
    of[(of == np.arange(len(of))) | (exact == b"")] = -1
    return of


def _keys(every: list[Prints], starts: np.ndarray, of: np.ndarray) -> dict[int, tuple[str, str]]:
    """Data set and key of each sample that is skipped or repeated."""
    named = np.unique(np.concatenate([np.flatnonzero(of >= 0), of[of >= 0]]))
    found: dict[int, tuple[str, str]] = {}
    for prints, begin, end in zip(every, starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        here = named[(named >= begin) & (named < end)] - begin
        found |= {begin + position: (prints.dataset.name, key) for position, key in prints.keys(here).items()}
    return found


def _skips(skipped: np.ndarray, begin: int, found: _Found, keys: dict[int, tuple[str, str]]) -> Iterator[Skip]:
    for position in skipped.tolist():
        reason, of = REASONS[found.reason[position]], "/".join(keys[int(found.of[position])])
        yield Skip(position - begin, keys[position][1], reason, of, int(found.apart[position]))
