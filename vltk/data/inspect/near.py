"""Near neighbours among 64-bit hashes by Hamming distance, by multi-index hashing (Norouzi et al., arXiv 1307.2982).

The 64 bits are dealt out to m parts. Two hashes at most d = m r + a bits apart differ by at most r bits in one of the
first a + 1 parts or by at most r - 1 bits in one of the others, so that looking into a few buckets of each part finds
every pair. Bits are dealt in turn (bit b to part b mod m): neighbouring bits of a picture's hash say nearly the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
Positions = NDArray[np.int64]
Same = Callable[[Positions, Positions], NDArray[np.bool_]]
BLOCK = 1024  # hashes looked up at once, and compared with each other one by one
CHUNK = 1 << 21  # candidate pairs compared at once


def repeats(
    hashes: Hashes,
    distance: int,
    fixed: int = 0,
    same: Same = lambda later, earlier: np.ones(len(later), bool),
    tell: Callable[[int], None] = lambda done: None,
) -> Positions:
    """For each of the hashes `(N,)` the position of the kept one that it repeats; -1: it is kept.

    In order of position, a hash is kept unless one kept before lies at most `distance` bits away and `same` (of
    positions, pair by pair) agrees; the first such one is named. The first `fixed` ones are kept in any case. `tell`
    hears how many are done.
    """
    owner = np.full(len(hashes), -1, np.int64)
    index = _Index(hashes, distance)
    index.add(np.arange(fixed))
    for start in range(fixed, len(hashes), BLOCK):
        block = np.arange(start, min(start + BLOCK, len(hashes)))
        owner[block] = index.first_near(block, same)
        _thin_block(hashes, block[owner[block] < 0], distance, same, owner)
        index.add(block[owner[block] < 0])
        tell(start + len(block))
    return owner


def _thin_block(hashes: Hashes, block: Positions, distance: int, same: Same, owner: Positions) -> None:
    """Compares the hashes of a block with each other and enters the owners."""
    values = hashes[block]
    near = np.tril(np.bitwise_count(values[:, None] ^ values) <= distance, -1)
    for row in np.flatnonzero(near.any(1)).tolist():
        kept = block[near[row] & (owner[block] < 0)]
        kept = kept[same(np.full(len(kept), block[row]), kept)]
        if len(kept):
            owner[block[row]] = kept[0]


class _Index:
    """The hashes added so far, in buckets by each part that has to be looked into for `distance`."""

    def __init__(self, hashes: Hashes, distance: int) -> None:
        self.hashes, self.distance = hashes, distance
        parts = min(max(round(64 / math.log2(max(len(hashes), 2))), 3), 16)
        radius, rest = divmod(distance, parts)
        self.tables = [
            _Table(_part(hashes, number, parts), len(range(number, 64, parts)), reach)
            for number in range(parts)
            if (reach := radius if number <= rest else radius - 1) >= 0
        ]

    def add(self, block: Positions) -> None:
        for table in self.tables:
            table.add(block)

    def first_near(self, block: Positions, same: Same) -> Positions:
        """For each hash of the block the first one added that is near and the same, -1 without one."""
        none = len(self.hashes)
        pairs = [np.empty(0, np.int64)]
        for table in self.tables:
            for query, other in table.candidates(block):
                near = np.bitwise_count(self.hashes[block[query]] ^ self.hashes[other]) <= self.distance
                pairs.append(query[near] * none + other[near])
        query, other = np.divmod(np.unique(np.concatenate(pairs)), none)
        agreed = same(block[query], other)
        best = np.full(len(block), none, np.int64)
        np.minimum.at(best, query[agreed], other[agreed])
        return np.where(best < none, best, -1)


def _part(hashes: Hashes, number: int, parts: int) -> NDArray[np.uint32]:
    """Bits number, number + parts, ... of each hash `(N,)`."""
    value = np.zeros(len(hashes), np.uint32)
    for place, bit in enumerate(range(number, 64, parts)):
        value |= ((hashes >> np.uint64(bit)).astype(np.uint32) & np.uint32(1)) << np.uint32(place)
    return value


class _Table:
    """Buckets by the value of one part, with room for all hashes, and the changes of that value within reach."""

    def __init__(self, values: NDArray[np.uint32], bits: int, reach: int) -> None:
        self.values = values
        self.begins = np.concatenate([[0], np.cumsum(np.bincount(values, minlength=1 << bits))[:-1]])
        self.filled = np.zeros(1 << bits, np.int64)
        self.places = np.empty(len(values), np.int64)
        flips = [sum(1 << bit for bit in chosen) for n in range(reach + 1) for chosen in combinations(range(bits), n)]
        self.flips = np.array(flips, np.uint32)  # (F,)

    def add(self, block: Positions) -> None:
        block = block[np.argsort(self.values[block], kind="stable")]
        values, first, counts = np.unique(self.values[block], return_index=True, return_counts=True)
        ahead = np.arange(len(block)) - np.repeat(first, counts)  # in the block, with the same value
        self.places[np.repeat(self.begins[values] + self.filled[values], counts) + ahead] = block
        self.filled[values] += counts

    def candidates(self, block: Positions) -> Iterator[tuple[Positions, Positions]]:
        """(place in the block, hash in a bucket within reach), in pieces."""
        keys = (self.values[block, None] ^ self.flips).ravel()
        counts = self.filled[keys]
        hit = np.flatnonzero(counts)
        begins, counts, queries = self.begins[keys[hit]], counts[hit], hit // len(self.flips)
        ends = np.cumsum(counts)
        cuts = np.searchsorted(ends, np.arange(CHUNK, ends[-1] if len(ends) else 0, CHUNK))
        for piece in np.split(np.arange(len(ends)), cuts):
            size = counts[piece]
            inside = np.arange(size.sum()) - np.repeat(np.cumsum(size) - size, size)
            yield np.repeat(queries[piece], size), self.places[np.repeat(begins[piece], size) + inside]
