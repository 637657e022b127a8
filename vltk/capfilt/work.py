"""Who works at which shard: this process, or others that share the folder; a shard is done when its table stands."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path

from vltk.capfilt.job import Shard
from vltk.eval.claims import claimed
from vltk.log import say

PAUSE = 0.5  # seconds between two looks at what others do


def each(
    step: str,
    shards: Iterable[Shard],
    claims: Path,
    stands: Callable[[Shard], bool],
    make: Callable[[Shard], str | None],
) -> None:
    """Makes what does not stand, shard by shard, or waits for others to. `make` says in words what it has made.

    `stands` is asked of all of them first: what it refuses is refused before anything is made.
    """
    every = list(shards)
    left = [shard for shard in every if not stands(shard)]
    claims.mkdir(parents=True, exist_ok=True)
    while left:
        before = len(left)
        for shard in list(left):
            if not stands(shard):
                with claimed(claims / f"{step}-{shard.name.replace('/', '_')}.claim") as ours:
                    if not ours:
                        continue
                    if not stands(shard):
                        _say(f"{step}: {shard.name} ({len(every) - len(left) + 1} of {len(every)})", make(shard))
            left.remove(shard)
        if len(left) == before:
            time.sleep(PAUSE)


def _say(what: str, told: str | None) -> None:
    if told is not None:
        say(f"{what}: {told}")
