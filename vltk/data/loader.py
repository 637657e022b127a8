"""The loader: the micro-batches of each step in order, made ahead in the background."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping
from queue import Full, Queue
from threading import Event, Thread

from vltk.data.batch import Batch
from vltk.data.mixture import Mixture
from vltk.data.stream import Stream

Step = tuple[int, str, list[Batch]]
POLL = 0.2  # seconds between looks at whether the other side has gone


class Loader:
    """Iterates `(step, stream name, micro-batches)` for steps `first_step` to `steps` - 1.

    One background thread asks the streams (each has its own threads) and keeps up to `prefetch` steps ready.
    `wait_seconds` is the time the consumer has waited for data so far. An error of a stream is raised at its step.
    """

    def __init__(
        self, streams: Mapping[str, Stream], mixture: Mixture, first_step: int, steps: int, prefetch: int = 4
    ) -> None:
        self.streams, self.mixture = streams, mixture
        self.first_step, self.steps, self.prefetch = first_step, steps, max(1, prefetch)
        self.wait_seconds = 0.0

    def __iter__(self) -> Generator[Step]:
        ready: Queue[Step | BaseException] = Queue(self.prefetch)
        stopped = Event()
        worker = Thread(target=self._fill, args=(ready, stopped), name="vltk-loader", daemon=True)
        worker.start()
        try:
            for _ in range(self.first_step, self.steps):
                yield self._next(ready)
        finally:
            stopped.set()
            worker.join()

    def _next(self, ready: Queue[Step | BaseException]) -> Step:
        start = time.perf_counter()
        item = ready.get()
        self.wait_seconds += time.perf_counter() - start
        if isinstance(item, BaseException):
            raise item
        return item

    def _fill(self, ready: Queue[Step | BaseException], stopped: Event) -> None:
        for step in range(self.first_step, self.steps):
            try:
                item: Step | BaseException = self._made(step)
            except BaseException as error:  # handed over and raised where the consumer stands
                item = error
            if not _put(ready, item, stopped) or isinstance(item, BaseException):
                return

    def _made(self, step: int) -> Step:
        name = self.mixture.stream_at(step)
        return step, name, self.streams[name].micro_batches(self.mixture.count(name, step))


def _put(ready: Queue[Step | BaseException], item: Step | BaseException, stopped: Event) -> bool:
    """Put the item when there is room; False once the consumer has gone."""
    while not stopped.is_set():
        try:
            ready.put(item, timeout=POLL)
            return True
        except Full:
            continue
    return False
