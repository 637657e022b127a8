"""The worker processes of img2dataset on one machine: none is waited for that has died, none is started twice.

img2dataset's own pool waits for ever when a worker is killed, and starts each worker anew (seconds of imports) after
every five pieces.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from typing import Any

Row = tuple[int, str]  # number of a piece, file with its rows
AHEAD = 2  # pieces in hand for each process


def distribute(processes: int, downloader: Callable[[Row], tuple[bool, Row]], rows: Iterable[Row], *_: Any) -> None:
    """Every piece through the downloader; stands in for img2dataset's `multiprocessing_distributor`.

    Raises BrokenProcessPool as soon as a worker dies, RuntimeError at the end when pieces failed.
    """
    failed: list[int] = []
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        waiting: set[Future[tuple[bool, Row]]] = set()
        for row in rows:
            waiting.add(pool.submit(downloader, row))
            if len(waiting) >= AHEAD * processes:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                failed += _failures(done)
        failed += _failures(waiting)
    if failed:
        raise RuntimeError(f"pieces failed: {sorted(failed)}")


def _failures(done: Iterable[Future[tuple[bool, Row]]]) -> list[int]:
    results = [future.result() for future in done]
    return [row[0] for good, row in results if not good]
