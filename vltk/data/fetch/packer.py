"""Packing while img2dataset downloads: a shard is made as soon as all its pieces are there, then they are discarded.

The shard of a group of pieces holds their rows in the order of the input, with those put aside by the plan. In all
rounds but the last, rows that may do better next time are left out of it and listed in `again-R/NNNNN.parquet`.
"""

from __future__ import annotations

import heapq
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from vltk.data.fetch.downloader import Outcome, Piece, outcomes
from vltk.data.fetch.pieces import CLEAN, Clean, Reject, Table, read_clean, read_rejected
from vltk.data.fetch.plan import groups
from vltk.data.fetch.state import State
from vltk.data.prepare import Admitted, Limits, NotAdmitted, admit
from vltk.data.shard import Record, Rejected, ShardWriter
from vltk.errors import VltkError

BEHIND = 1  # whole groups that may lie on disk while another is gathered

Result = Admitted | NotAdmitted | None  # None: there were no bytes
Found = tuple[Clean | Reject, Outcome | None, Result]


class Stopped(Exception):
    """The packing was given up in the middle of a shard; the next run packs it again."""


@dataclass(frozen=True)
class Round:
    """One pass over the rows still wanted: `folder` has its `urls/`; `last`: whatever fails now has failed."""

    number: int
    folder: Path
    pieces: int
    group: int
    first_shard: int
    last: bool

    @property
    def shards(self) -> int:
        return groups(self.pieces, self.group)

    def members(self, group: int) -> range:
        """The pieces of a shard."""
        return range(group * self.group, min(self.pieces, (group + 1) * self.group))


class Packer:
    """Takes finished pieces of a round; packs in a thread of its own, and checks images in `workers` more.

    `each` is told the status of every row that has one now.
    """

    def __init__(
        self, work: Path, state: State, round: Round, limits: Limits, workers: int, each: Callable[[str], None]
    ) -> None:
        self.work, self.state, self.round, self.limits, self.each = work, state, round, limits, each
        self._waiting: dict[int, Piece] = {}
        self._queue: list[Future[None]] = []
        self._thread = ThreadPoolExecutor(1, "packer")
        self._checkers = ThreadPoolExecutor(workers, "admit")
        self._ahead = 2 * workers
        self._stopped = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._stopped.set()
        self._thread.shutdown(cancel_futures=kind is not None)
        self._checkers.shutdown(cancel_futures=True)

    def take(self, piece: Piece) -> None:
        """A finished piece; its group is packed once it is whole, and waits for those before it.

        Raises what went wrong in packing so far.
        """
        self._raise()
        group = piece.number // self.round.group
        if (self.round.number, group) in self.state.shards:  # packed, and killed before the piece was discarded
            piece.discard()
            return
        self._waiting[piece.number] = piece
        members = self.round.members(group)
        if all(number in self._waiting for number in members):
            pieces = [self._waiting.pop(number) for number in members]
            self._queue.append(self._thread.submit(self._pack, group, pieces))
            wait(self._queue[:-BEHIND], return_when=FIRST_EXCEPTION)
            self._raise()

    def finish(self) -> None:
        """Waits for all that was taken. Raises what went wrong, and VltkError when a group is not whole."""
        for future in self._queue:
            future.result()
        lost = [group for group in range(self.round.shards) if (self.round.number, group) not in self.state.shards]
        if lost:
            raise VltkError(f"the download ended without {len(lost)} of {self.round.shards} shards: run it again")

    def _raise(self) -> None:
        for future in self._queue:
            if future.done():
                future.result()

    def _pack(self, group: int, pieces: list[Piece]) -> None:
        number = self.round.first_shard + group
        writer = ShardWriter(self.work / "data", number)
        again = _Again(self.work / f"again-{self.round.number}" / f"{number:05d}.parquet")
        try:
            for row, outcome, result in self._rows(group, pieces):
                if self._stopped.is_set():
                    raise Stopped
                if isinstance(row, Reject):
                    self._note(writer, _put_aside(row))
                    continue
                assert outcome is not None
                status = result.status if isinstance(result, NotAdmitted) else outcome.status
                if status.retry and not self.round.last:
                    again.add(row)
                else:
                    self._note(writer, _made(row, outcome, result))
            again.close()
            entry = writer.close()
        finally:
            writer.abandon()
        self.state.packed(self.round.number, group, number, entry, again.count)
        for piece in pieces:
            piece.discard()

    def _note(self, writer: ShardWriter, record: Record | Rejected) -> None:
        writer.add(record)
        self.each("ok" if isinstance(record, Record) else record.status)

    def _rows(self, group: int, pieces: list[Piece]) -> Iterator[Found]:
        """All rows of a shard in the order of the input, with what became of those that were fetched."""
        members = [*self.round.members(group)]
        if members[-1] == self.round.pieces - 1:
            members.append(self.round.pieces)  # rows put aside behind the last piece
        aside = ((row, None, None) for number in members for row in read_rejected(self.round.folder, number))
        fetched = (found for piece in pieces for found in self._fetched(piece))
        streams: list[Iterator[Found]] = [aside, fetched]
        return heapq.merge(*streams, key=lambda found: found[0].row)

    def _fetched(self, piece: Piece) -> Iterator[Found]:
        rows = read_clean(self.round.folder, piece.number)
        for row, (outcome, result) in zip(rows, self._checked(outcomes(piece)), strict=True):
            if row.row != outcome.row:
                raise VltkError(f"{piece.tar}: row {outcome.row} stands where row {row.row} should be: --restart")
            yield row, outcome, result

    def _checked(self, found: Iterable[Outcome]) -> Iterator[tuple[Outcome, Result]]:
        """Each outcome with its image checked, in order, a few of them at once."""
        ahead: deque[tuple[Outcome, Future[Result] | None]] = deque()
        for outcome in found:
            ahead.append((outcome, self._submit(outcome)))
            if len(ahead) > self._ahead:
                yield _result(*ahead.popleft())
        while ahead:
            yield _result(*ahead.popleft())

    def _submit(self, outcome: Outcome) -> Future[Result] | None:
        return None if outcome.data is None else self._checkers.submit(check, outcome.data, self.limits)


def check(data: bytes, limits: Limits) -> Result:
    """The image to store, or why there is none."""
    try:
        return admit(data, limits)
    except NotAdmitted as reason:
        return reason


def workers() -> int:
    """Threads that check images."""
    return max(1, min(16, (os.cpu_count() or 1)))


def _result(outcome: Outcome, future: Future[Result] | None) -> tuple[Outcome, Result]:
    return outcome, None if future is None else future.result()


def _made(row: Clean, outcome: Outcome, result: Result) -> Record | Rejected:
    key = f"{row.row:09d}"
    if isinstance(result, Admitted):
        facts = {"row": row.row, "url": row.url, "caption": row.original, **result.row}
        return Record(key, result.image, [row.caption] if row.caption else [], row=facts)
    caption = row.caption if row.original is None else row.original
    facts = {"row": row.row, "url": row.url, "caption": caption}
    if isinstance(result, NotAdmitted):
        return Rejected(key, result.status.value, result.detail, facts | result.row)
    return Rejected(key, outcome.status.value, outcome.detail, facts)


def _put_aside(row: Reject) -> Rejected:
    facts = {"row": row.row, "url": row.url, "caption": row.caption}
    return Rejected(f"{row.row:09d}", row.status, row.detail, facts)


class _Again:
    """Rows for the next round; there is no file where there are none."""

    def __init__(self, path: Path) -> None:
        self.path, self.count = path, 0
        self._table: Table | None = None
        self.path.unlink(missing_ok=True)

    def add(self, row: Clean) -> None:
        if self._table is None:
            self.path.parent.mkdir(exist_ok=True)
            self._table = Table(self.path, CLEAN)
        self._table.add(row)
        self.count += 1

    def close(self) -> None:
        if self._table is not None:
            self._table.close()
