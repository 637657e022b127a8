"""Data sets that come as files: mirrors (WebDataset tars), the hub (parquet), archives that a reader joins."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from vltk import parts
from vltk.data.card import card_digest, card_names
from vltk.data.card_schema import Archives, Card, Fetcher, Generated, Hub, Local, Mirror
from vltk.data.dataset import dataset_folder
from vltk.data.fetch.download import OutOfReach
from vltk.data.fetch.estimate import require_disk, size
from vltk.data.fetch.files import Source, sources
from vltk.data.fetch.hub import commits
from vltk.data.fetch.job import Switches
from vltk.data.fetch.options import FetchOptions
from vltk.data.fetch.packing import Packing, Unit, begun, begun_files, pack, remove_empty, stands
from vltk.data.sources._parquet import parquet_rows
from vltk.data.sources._raw import Raw
from vltk.data.sources._store import Store
from vltk.data.sources._tars import tar_rows
from vltk.errors import Missing
from vltk.log import say

PLAIN = Switches()


def fetch_set(
    card: Card,
    name: str,
    fetcher: Mirror | Hub | Archives,
    options: FetchOptions,
    switches: Switches = PLAIN,
) -> list[str]:
    """Download and pack; the names of the data sets that are then on disk. Stopped, the same call goes on.

    Files of a mirror or the hub are removed once they are packed; archives once all parts are. A dry run lists the
    files alone. Raises Missing with the other ways where files are out of reach, and VltkError.
    """
    try:
        return _fetched(_Job(card, name, fetcher, options, switches))
    except OutOfReach as error:
        raise Missing(f"{error}; other ways to {name}:", other_ways(card, fetcher)) from None


def other_ways(card: Card, tried: Fetcher) -> list[tuple[str, str]]:
    """The ways of a card but one, as (what, command)."""
    what = card.name if card.name in card_names() else "CARD.yaml"
    steps: list[tuple[str, str]] = []
    for fetcher in card.fetchers:
        if isinstance(fetcher, Local):
            steps += [(step.what, step.command) for step in fetcher.bring]
        elif fetcher is not tried and not isinstance(fetcher, Generated):
            steps.append((fetcher.about or fetcher.kind, f"vltk data fetch {what} --from {fetcher.kind}"))
    return steps or [("the same again, when it answers", f"vltk data fetch {what}")]


def _fetched(job: _Job) -> list[str]:
    name, switches = job.name, job.switches
    made = [f"{name}/{part}" if part else name for part in job.parts]
    for part, target in zip(job.parts, made, strict=True):
        folder, how = dataset_folder(target), job.how(part)
        if switches.dry_run or not stands(folder, how):
            if switches.restart or not begun(folder):
                job.check_room()
            if not switches.dry_run:
                units, files = job.units(part), tuple(source.name for source in job.sources)
                pack(folder, units, replace(how, files=files), partial(_tell, target, len(units)))
    if not switches.dry_run:
        shutil.rmtree(job.downloads, ignore_errors=True)
        remove_empty(job.downloads.parent)
        remove_empty(job.downloads.parent.parent)
    return made


@dataclass(frozen=True)
class _Job:
    card: Card
    name: str
    fetcher: Mirror | Hub | Archives
    options: FetchOptions
    switches: Switches

    @property
    def parts(self) -> list[str]:
        """What stands behind the name of the data set; empty: nothing."""
        return list(self.fetcher.parts) if isinstance(self.fetcher, Archives) else [""]

    @property
    def downloads(self) -> Path:
        return dataset_folder(self.name) / ".fetch" / "files"

    @cached_property
    def sources(self) -> list[Source]:
        """The files, of the hub at the commits that a stopped job was begun with."""
        folders = [dataset_folder(f"{self.name}/{part}" if part else self.name) for part in self.parts]
        begun = [] if self.switches.restart else [name for folder in folders for name in begun_files(folder)]
        return sources(self.fetcher.files, self.downloads, self.options.policy(), commits(begun))

    def how(self, part: str) -> Packing:
        limits = self.options.limits()
        facts: dict[str, Any] = {"kind": self.fetcher.kind, "card": self.card.name, "part": part}
        facts |= {"card_sha256": card_digest(self.card), "licence": self.card.licence.id, **vars(limits)}
        facts |= {"way": _way(self.fetcher)}
        facts |= {"limit": self.options.limit} if self.options.limit else {}
        per_shard = max(1, self.options.shard_size // 2)
        rows = self.card.samples.published if self.card.samples else 0
        return Packing(
            limits, facts, per_shard, self.switches.replace, self.options.limit, rows, restart=self.switches.restart
        )

    def check_room(self) -> None:
        """Says what is to come. Raises VltkError where the disk is too small for it."""
        sizes = [source.bytes for source in self.sources if source.bytes is not None]
        known = len(sizes) == len(self.sources)
        total = sum(sizes) if known else self.card.size.download or sum(sizes)
        samples = self.card.samples.published if self.card.samples else 0
        stored = min(samples, self.options.limit or samples) * self.card.size.bytes_per_sample
        come = size(total) if total else "of unknown size"
        say(f"{self.name}: {len(self.sources)} files to download, {come}; about {size(stored)} stored")
        at_once = total if isinstance(self.fetcher, Archives) else max(sizes, default=0)
        require_disk(dataset_folder(self.name), stored + at_once)

    def units(self, part: str) -> list[Unit]:
        """Each file of a mirror or the hub; or all archives together, which are joined."""
        if isinstance(self.fetcher, Archives):
            return [Unit(part, partial(self._joined, self.fetcher, part))]
        return [self._unit(self.fetcher, source, number) for number, source in enumerate(self.sources)]

    def _unit(self, fetcher: Mirror | Hub, source: Source, number: int) -> Unit:
        def rows() -> Iterator[Raw]:
            path, prefix = source.bring(), f"{number:05d}_"
            if isinstance(fetcher, Mirror):
                return tar_rows(path, prefix, fetcher.caption, self.options.limits())
            return parquet_rows(path, prefix, fetcher)

        return Unit(source.name, rows, source.remove)

    def _joined(self, fetcher: Archives, part: str) -> Iterator[Raw]:
        reader = parts.choose("data/sources", fetcher.reader, **fetcher.parts[part])
        rows: Iterator[Raw] = reader.build(store=self.store, limits=self.options.limits()).rows()
        return rows

    @cached_property
    def store(self) -> Store:
        """All archives, downloaded."""
        return Store([source.bring() for source in self.sources])


def _way(fetcher: Mirror | Hub | Archives) -> str:
    """A digest of which files of the card are read how; not of its prose and checksums."""
    said = fetcher.model_dump(mode="json", exclude={"about": True, "files": {"__all__": {"sha256", "bytes"}}})
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _tell(name: str, units: int, unit: int, entry: dict[str, Any]) -> None:
    lost = entry["rows"] - entry["samples"]
    file = f", file {unit + 1} of {units}" if units > 1 else ""
    say(f"{name}: {entry['file']}: {entry['samples']:,} samples{f', {lost:,} rows without one' if lost else ''}{file}")
