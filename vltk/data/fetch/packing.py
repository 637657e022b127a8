"""Rows of downloaded files to shards, one shard at a time: a stopped job goes on with the shard it was at."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from vltk.data.ahead import ahead
from vltk.data.lock import locked
from vltk.data.prepare import Limits
from vltk.data.publish import Manifest, publish
from vltk.data.shard import ShardWriter
from vltk.data.sources._raw import Raw, record
from vltk.errors import VltkError

OnShard = Callable[[int, dict[str, Any]], None]  # (unit, entry of the manifest)
PROSE = ("card_sha256", "licence")  # of a card; other words pack nothing else
WORDS = {"files": "the files of the card", "way": "how the card says that they are read"}


@dataclass(frozen=True)
class Unit:
    """A part of the input that is read from its start: `rows` brings its file and reads it; `done` clears up."""

    name: str
    rows: Callable[[], Iterator[Raw]]
    done: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Packing:
    """How: `source` goes into the manifest; what a stopped job was begun with must not change.

    `limit`: first rows only; `expected`: rows in all, as far as it is known, for the bar; `files`: full names of what
    is downloaded; `restart` forgets what a stopped job has done.
    """

    limits: Limits
    source: dict[str, Any]
    samples_per_shard: int = 5000
    replace: bool = False
    limit: int | None = None
    expected: int = 0
    files: tuple[str, ...] = ()
    restart: bool = False


def pack(folder: Path, units: list[Unit], how: Packing, on_shard: OnShard = lambda unit, entry: None) -> Manifest:
    """Write the rows of all units as the data set `folder`. Rows are numbered over all units; each gets one status.

    Finished shards wait in `folder/.fetch/packed`. Raises VltkError: the data set stands there already, another
    process is at it, it was begun with other facts, no sample is usable, the disk is full.
    """
    work = folder / ".fetch" / "packed"
    try:
        with locked(work.parent):
            if how.restart:
                shutil.rmtree(work, ignore_errors=True)
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


def begun_files(folder: Path) -> list[str]:
    """The files that a stopped job was begun with, by their full names."""
    found = _read(folder / ".fetch" / "packed" / "journal.jsonl")
    files: list[str] = found[0].get("facts", {}).get("files", []) if found else []
    return files


def stands(folder: Path, how: Packing) -> bool:
    """Whether this very data set is there; raises VltkError where another one is, before anything is downloaded."""
    path = folder / "manifest.json"
    if not path.exists() or how.replace:
        return False
    found = json.loads(path.read_text(encoding="utf-8")).get("source", {})
    told = _changed({"way": how.source.get("way")} | found, how.source)  # older manifests have no way
    if told:
        raise VltkError(
            f"the data set {folder} exists already, made in another way ({told}): give another name, or add --replace"
        )
    return True


def _changed(before: dict[str, Any], now: dict[str, Any]) -> str:
    """What differs between two sets of facts, but for the prose of the card; empty: nothing."""
    keys = [key for key in {**before, **now} if key not in PROSE and before.get(key) != now.get(key)]
    return "; ".join(WORDS.get(key, f"{key} was {before.get(key)}, is {now.get(key)}") for key in keys)


def _packed(work: Path, units: list[Unit], how: Packing, on_shard: OnShard) -> list[dict[str, Any]]:
    journal = _Journal(work, _facts(units, how))
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


def _facts(units: list[Unit], how: Packing) -> dict[str, Any]:
    files = how.files or [unit.name for unit in units]
    facts = {**how.source, **vars(how.limits), "samples of a shard": how.samples_per_shard, "files": files}
    found: dict[str, Any] = json.loads(json.dumps(facts))
    return found


def _unit(work: Path, number: int, unit: Unit, how: Packing, journal: _Journal) -> Iterator[dict[str, Any]]:
    """Lines of the journal, one a shard; the last one of a unit says so."""
    taken = journal.rows_of(number)
    stop = None if how.limit is None else taken + how.limit - journal.rows
    keys = journal.keys_of(number)
    shard, row = len(journal.entries), journal.rows
    writer: ShardWriter | None = None
    entry: dict[str, Any] | None
    raws = islice(unit.rows(), taken, stop)  # its file is here then
    try:
        for made in ahead(lambda raw: record(raw, how.limits), raws, how.expected, before=row):
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


class _Journal:
    """`journal.jsonl`: the facts, then one line a shard; a line that a kill cut off is dropped, its shard made again.

    Raises VltkError for one that has shards of other facts.
    """

    def __init__(self, work: Path, facts: dict[str, Any]) -> None:
        self.path = work / "journal.jsonl"
        found = _read(self.path)
        told = _changed(found[0].get("facts", {}), facts) if found else ""
        if not found or told and not found[1:]:  # no shard is lost
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir(parents=True)
            found = [{"facts": facts}]
        elif told:
            raise VltkError(
                f"{work.parent}: a fetch was begun with other options: {told}\n"
                "Go on with those, or begin anew: --restart (what was packed so far is removed)"
            )
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

    def keys_of(self, unit: int) -> set[str]:
        """The keys of the samples that are stored of a unit."""
        import pyarrow.parquet as pq

        files = [Path(line["entry"]["file"]) for line in self.lines if line["unit"] == unit and line["entry"]]
        tables = [
            pq.read_table(self.path.parent / "rows" / f"{file.stem}.parquet", columns=["key", "shard"])
            for file in files
        ]
        return {row["key"] for table in tables for row in table.to_pylist() if row["shard"] >= 0}

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
