"""Which samples are chosen where no official list says it: pure functions of the ids and a named seed.

An id's place is its hash with the seed, so a rule needs no random generator whose stream might change one day, and what
is chosen does not depend on the order of the ids.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

HELD_OUT = 0.2  # of each class


def shuffled(ids: Iterable[str], seed: str) -> list[str]:
    """The ids in the order of the SHA-256 of `SEED/ID`."""
    return sorted(ids, key=lambda one: sha256(f"{seed}/{one}".encode()).digest())


def ids_sha256(ids: Iterable[str]) -> str:
    """Of the ids in their order, each followed by a line feed."""
    total = sha256()
    for one in ids:
        total.update(f"{one}\n".encode())
    return total.hexdigest()


def held_out(
    keys: Sequence[str], labels: NDArray[np.int64], seed: str, group: Callable[[str], str] | None = None
) -> NDArray[np.bool_]:
    """(N,) which samples go to validation: whole groups of each class, shuffled, until they are a fifth of it or more.

    A sample is its own group where `group` (key to group) is None. The last group of a class is never taken.
    """
    groups: dict[int, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for row, (key, label) in enumerate(zip(keys, labels.tolist(), strict=True)):
        groups[label][key if group is None else group(key)].append(row)
    held = np.zeros(len(keys), bool)
    for of_class in groups.values():
        wanted, taken = HELD_OUT * sum(map(len, of_class.values())), 0
        for name in shuffled(of_class, seed)[:-1]:
            if taken >= wanted:
                break
            held[of_class[name]] = True
            taken += len(of_class[name])
    return held


def portions(
    keys: Sequence[str], labels: NDArray[np.int64], seed: str, cut: Callable[[int], Sequence[int]]
) -> list[NDArray[np.bool_]]:
    """Masks (N,): the samples of each class, shuffled, are cut into portions of `cut(samples of the class)`; what is
    left of a class is in none."""
    rows: dict[int, dict[str, int]] = defaultdict(dict)
    for row, (key, label) in enumerate(zip(keys, labels.tolist(), strict=True)):
        rows[label][key] = row
    masks: list[NDArray[np.bool_]] = []
    for of_class in rows.values():
        order, start = shuffled(of_class, seed), 0
        for number, size in enumerate(cut(len(order))):
            if number == len(masks):
                masks.append(np.zeros(len(keys), bool))
            masks[number][[of_class[key] for key in order[start : start + size]]] = True
            start += size
    return masks


def scaled(sizes: Sequence[int], count: int) -> list[int]:
    """The sizes; where `count` is less than they need, all of it in their proportion, the first ones rounded down."""
    if count >= sum(sizes):
        return list(sizes)
    firsts = [size * count // sum(sizes) for size in sizes[:-1]]
    return [*firsts, count - sum(firsts)]
