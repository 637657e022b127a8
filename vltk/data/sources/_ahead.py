"""Rows made ahead on several threads, in the order of the input: decoding and encoding release the GIL."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from vltk.data.bar import Bar
from vltk.data.record import Record, Rejected

Row = Record | Rejected


def ahead(work: Callable[[str], Row], names: Collection[str], threads: int | None = None) -> Iterator[Row]:
    """`work(name)` for each name, in order, with a bar; `threads` is by default the number of cores."""
    stored = 0
    with Bar("packing", len(names)) as bar:
        for done, row in enumerate(_in_order(work, names, threads or len(os.sched_getaffinity(0))), 1):
            stored += isinstance(row, Record)
            if bar.due():
                bar.show(done, f"{stored:,} of {done:,} rows stored")
            yield row


def _in_order(work: Callable[[str], Row], names: Iterable[str], threads: int) -> Iterator[Row]:
    """At most twice as many rows as threads are held."""
    held: deque[Future[Row]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for name in names:
            held.append(pool.submit(work, name))
            if len(held) == 2 * threads:
                yield held.popleft().result()
        while held:
            yield held.popleft().result()
