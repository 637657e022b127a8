"""Rows made ahead on several threads, in the order of the input: decoding and encoding release the GIL."""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from vltk.data.bar import Bar
from vltk.data.record import Record, Rejected

REASONS = 3  # kinds of rejected rows that the bar names

Item = TypeVar("Item")
Row = Record | Rejected


def ahead(
    work: Callable[[Item], Row], items: Iterable[Item], total: int, *, before: int = 0, threads: int | None = None
) -> Iterator[Row]:
    """`work(item)` for each item, in order, with a bar over `total` rows (0: not known), of which `before` are done.

    `threads` is by default the number of cores.
    """
    statuses: Counter[str] = Counter()
    with Bar("packing", total) as bar:
        for done, row in enumerate(_in_order(work, items, threads or len(os.sched_getaffinity(0))), 1):
            statuses["ok" if isinstance(row, Record) else row.status] += 1
            if bar.due():
                bar.show(before + done, f"{told(statuses)}, {bar.rate(done)}")
            yield row


def told(statuses: Counter[str]) -> str:
    """`950 of 1,000 rows stored (undecodable 30, too_small 20)`."""
    reasons = [f"{status} {count:,}" for status, count in statuses.most_common() if status != "ok"]
    tail = ["..."] if len(reasons) > REASONS else []
    why = f" ({', '.join(reasons[:REASONS] + tail)})" if reasons else ""
    return f"{statuses['ok']:,} of {statuses.total():,} rows stored{why}"


def _in_order(work: Callable[[Item], Row], items: Iterable[Item], threads: int) -> Iterator[Row]:
    """At most twice as many rows as threads are held."""
    held: deque[Future[Row]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for item in items:
            held.append(pool.submit(work, item))
            if len(held) == 2 * threads:
                yield held.popleft().result()
        while held:
            yield held.popleft().result()
