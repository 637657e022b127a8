"""Rows of downloaded files to shards, one shard at a time: a stopped job goes on with the shard it was at."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from vltk.data.bar import Bar
from vltk.data.fetch.state import locked
from vltk.data.prepare import Limits
from vltk.data.publish import Manifest, publish
from vltk.data.record import Record, Rejected
from vltk.data.shard import ShardWriter
from vltk.data.sources._raw import Raw, record
from vltk.errors import VltkError

OnShard = Callable[[int, dict[str, Any]], None]  # (unit, entry of the manifest)


@dataclass(frozen=True)
class Unit:
    """A part of the input that is read from its start: `rows` brings its file and reads it; `done` clears up."""

    name: str
    rows: Callable[[], Iterator[Raw]]
    done: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Packing:
    """How: `source` goes into the manifest; another one, other limits or units start anew.

    `limit`: first rows only; `expected`: rows in all, as far as it is known, for the bar.
    """

    limits: Limits
    source: dict[str, Any]
    samples_per_shard: int = 5000
    replace: bool = False
    limit: int | None = None
    expected: int = 0


def pack(folder: Path, units: list[Unit], how: Packing, on_shard: OnShard = lambda unit, entry: None) -> Manifest:
    """Write the rows of all units as the data set `folder`. Rows are numbered over all units; each gets one status.

    Finished shards wait in `folder/.fetch/packed`. Raises VltkError: the data set stands there already, another
    process is at it, no sample is usable, the disk is full.
    """
    work = folder / ".fetch" / "packed"
    try:
        with locked(work.parent):
            entries = _packed(work, units, how, on_shard)
            manifest = publish(work, folder, entries, how.source, how.replace)
    except OSError as error:
        raise VltkError(f"{folder}: {error}. What is finished is kept in {work}: the same command goes on") from error
    shutil.rmtree(work)
    remove_empty(work.parent)
    return manifest


def remove_empty(folder: Path) -> None:
    """Remove a folder that holds nothing."""
    if folder.exists() and not any(folder.iterdir()):
        folder.rmdir()


def begun(folder: Path) -> bool:
    """Whether a stopped job can go on."""
    return (folder / ".fetch" / "packed" / "journal.jsonl").exists()


def stands(folder: Path, how: Packing) -> bool:
    """Whether this very data set is there; raises VltkError where another one is, before anything is downloaded."""
    path = folder / "manifest.json"
    if not path.exists() or how.replace:
        return False
    if json.loads(path.read_text(encoding="utf-8")).get("source") == how.source:
        return True
    raise VltkError(f"the data set {folder} exists already, made in another way: give another name, or add --replace")


def _packed(work: Path, units: list[Unit], how: Packing, on_shard: OnShard) -> list[dict[str, Any]]:
    journal = _Journal(work, _plan(units, how))
    for number, unit in enumerate(units):
        if how.limit is not None and journal.rows >= how.limit:
            break
        if not journal.is_done(number):
            for line in _unit(work, number, unit, how, journal):
                journal.add(line)
                if line["entry"] is not None:
                    on_shard(number, line["entry"])
        unit.done()
    return journal.entries


def _plan(units: list[Unit], how: Packing) -> str:
    facts = [[unit.name for unit in units], vars(how.limits), how.source, how.samples_per_shard]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _unit(work: Path, number: int, unit: Unit, how: Packing, journal: _Journal) -> Iterator[dict[str, Any]]:
    """Lines of the journal, one a shard; the last one of a unit says so."""
    taken = journal.rows_of(number)
    stop = None if how.limit is None else taken + how.limit - journal.rows
    keys: set[str] = set()
    shard, row = len(journal.entries), journal.rows
    writer: ShardWriter | None = None
    entry: dict[str, Any] | None
    raws = islice(unit.rows(), taken, stop)  # its file is here then
    try:
        for made in _shown(_made(raws, how.limits), row, how.expected):
            if writer is not None and writer.samples == how.samples_per_shard:
                row = writer.next_row
                entry, writer = writer.close(), None
                yield {"unit": number, "entry": entry, "last": False}
                shard += 1
            writer = writer or ShardWriter(work, shard, row, keys)
            writer.add(made)
        entry = writer.close() if writer else None
    except BaseException:
        if writer is not None:
            writer.abandon()
        raise
    yield {"unit": number, "entry": entry, "last": True}


def _made(raws: Iterator[Raw], limits: Limits) -> Iterator[Record | Rejected]:
    """The rows in order, made ahead on several threads: decoding and encoding release the GIL."""
    threads = len(os.sched_getaffinity(0))
    held: deque[Future[Record | Rejected]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for raw in raws:
            held.append(pool.submit(record, raw, limits))
            if len(held) == 2 * threads:
                yield held.popleft().result()
        while held:
            yield held.popleft().result()


def _shown(rows: Iterator[Record | Rejected], before: int, expected: int) -> Iterator[Record | Rejected]:
    """The same rows, under a bar."""
    stored = 0
    with Bar("packing", expected) as bar:
        for done, row in enumerate(rows, 1):
            stored += isinstance(row, Record)
            if bar.due():
                bar.show(before + done, f"{stored:,} of {done:,} rows stored")
            yield row


class _Journal:
    """`journal.jsonl`: the plan, then one line a shard; a line that a kill cut off is dropped, its shard made again."""

    def __init__(self, work: Path, plan: str) -> None:
        self.path = work / "journal.jsonl"
        found = _read(self.path)
        if not found or found[0].get("plan") != plan:
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir(parents=True)
            found = [{"plan": plan}]
        self.lines = found[1:]
        part = self.path.with_suffix(".part")
        part.write_text("".join(json.dumps(line) + "\n" for line in found), encoding="utf-8")
        part.rename(self.path)

    @property
    def entries(self) -> list[dict[str, Any]]:
        return [line["entry"] for line in self.lines if line["entry"] is not None]

    @property
    def rows(self) -> int:
        return sum(entry["rows"] for entry in self.entries)

    def rows_of(self, unit: int) -> int:
        return sum(line["entry"]["rows"] for line in self.lines if line["unit"] == unit and line["entry"])

    def is_done(self, unit: int) -> bool:
        return any(line["unit"] == unit and line["last"] for line in self.lines)

    def add(self, line: dict[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.lines.append(line)


def _read(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    whole = path.read_bytes().rpartition(b"\n")[0]
    return [json.loads(line) for line in whole.splitlines()]
