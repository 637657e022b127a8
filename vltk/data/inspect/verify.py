"""Is a data set whole? Every file against the manifest, every index against its tar, every row against its shard.

A sha256 finds any flipped byte of a tar or an index; the other checks find what was wrong before it was taken.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vltk.data import codes, skip
from vltk.data.bar import Bar
from vltk.data.dataset import dataset_folder, dataset_names, read_manifest, remedies
from vltk.data.inspect.row_check import Rows
from vltk.data.inspect.shard_check import Shard
from vltk.data.named import all_of
from vltk.data.remote import is_remote
from vltk.errors import VltkError

NEEDED = {"file", "samples", "bytes", "sha256", "index_sha256"}  # of the manifest's entry of a shard


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: the file, what is wrong with it, what to do."""

    path: Path
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.path}: {self.what}; {self.remedy}"


@dataclass(frozen=True)
class Verified:
    """What was looked at, and what was found; `remote` shards lie behind URLs and were not looked at."""

    name: str
    shards: int
    samples: int
    decoded: int
    remote: int
    problems: list[Problem]


def chosen(names: Iterable[str], every: bool = False) -> list[str]:
    """These data sets, `NAME` also for all of `NAME/...`; with `every` all on disk. Raises Missing for others."""
    found: dict[str, None] = dict.fromkeys(dataset_names() if every else [])
    for name in names:
        found.update(dict.fromkeys(all_of(name)))
    if not found:
        raise VltkError("no data set to look at: give names (vltk data ls), or --all when there are any")
    return list(found)


def verify(name: str, decode_percent: float = 0.0, seed: int = 0) -> Verified:
    """Look at every file of the data set `name`, and decode that share of its images, chosen by `seed`.

    Raises VltkError when a newer vltk wrote it.
    """
    folder = dataset_folder(name)
    look = _Look(name, folder)
    manifest = _manifest(folder, name)
    if manifest is None:
        problem = look.problem(folder / "manifest.json", "it is no manifest of a data set")
        return Verified(name, 0, 0, 0, 0, [problem])
    if manifest.get("kind") == "tokens":
        return _verify_tokens(look, manifest)
    problems = list(look.problems(manifest, decode_percent / 100, seed))
    return Verified(name, len(manifest["shards"]), look.samples, look.decoded, look.remote, problems)


def _manifest(folder: Path, name: str) -> dict[str, Any] | None:
    """The manifest, None when it is none or lacks what the checks need. Raises VltkError for one of a newer vltk."""
    try:
        manifest = read_manifest(folder, name)
    except VltkError as error:
        if "newer vltk" in str(error):
            raise
        return None
    if manifest.get("kind") == "tokens":
        return manifest
    whole = all(isinstance(entry, dict) and entry.keys() >= NEEDED for entry in manifest["shards"])
    counted = all(isinstance(manifest.get(name), int) for name in ("samples", "images", "texts"))
    return manifest if whole and counted and isinstance(manifest.get("statuses"), dict) else None


def _verify_tokens(look: _Look, manifest: dict[str, Any]) -> Verified:
    from vltk.data.tokens import problems

    found = [look.problem(path, what) for path, what in problems(look.name, look.folder, manifest)]
    return Verified(look.name, len(manifest["shards"]), manifest["samples"], 0, 0, found)


class _Look:
    """One pass over one data set."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder
        self.samples = self.decoded = self.remote = 0
        self.hashes: list[np.ndarray] = []  # of the keys, 64 bits each

    def problem(self, path: Path, what: str, remedy: str = "") -> Problem:
        commands = " and ".join(f"{command} --replace" for _, command in remedies(self.name))
        return Problem(path, what, remedy or f"make the data set again: {commands}")

    def problems(self, manifest: dict[str, Any], share: float, seed: int) -> Iterator[Problem]:
        entries = manifest["shards"]
        rows = Rows(sum(manifest["statuses"].values())) if (self.folder / "rows").exists() else None
        with Bar(f"verify {self.name}", len(entries)) as bar:
            for number, entry in enumerate(entries):
                found = [self.problem(path, what) for path, what in self._shard(number, entry, rows, share, seed)]
                yield from found
                if bar.due():
                    bar.show(number + 1, f"shard {number + 1:,} of {len(entries):,}")
        path = self.folder / "manifest.json"
        yield from (self.problem(path, what) for what in self._totals(manifest))
        if rows is None and manifest.get("source", {}).get("kind") != "webdataset":  # tars of others have no rows
            yield self.problem(self.folder / "rows", "the folder is gone")
        elif rows is not None and (lost := rows.absent()):
            yield self.problem(self.folder / "rows", lost)
        yield from self._others(entries)

    def _shard(
        self, number: int, entry: dict[str, Any], rows: Rows | None, share: float, seed: int
    ) -> Iterator[tuple[Path, str]]:
        if is_remote(entry["file"]):
            self.remote += 1
            return
        shard = Shard(self.folder, number, entry)
        yield from shard.findings(share, seed)
        self.decoded += shard.decoded
        if shard.keys is not None:
            self.samples += len(shard.keys)
            self.hashes.append(np.array([hash(key) for key in shard.keys], np.int64))
        if rows is not None:
            path = self.folder / "rows" / f"{shard.tar.stem}.parquet"
            yield from ((path, what) for what in rows.check(path, number, entry, shard.keys))

    def _totals(self, manifest: dict[str, Any]) -> Iterator[str]:
        """What does not add up between the totals of the manifest, its shards and the keys in the tars."""
        entries = manifest["shards"]
        statuses: Counter[str] = Counter()
        for entry in entries:
            statuses.update(entry.get("statuses", {}))
        if all("statuses" in entry for entry in entries) and dict(statuses) != manifest["statuses"]:
            yield f"statuses: {manifest['statuses']}, those of the shards add up to {dict(statuses)}"
        for name in ("samples", "images", "texts"):
            total = sum(entry.get(name, 0) for entry in entries)
            if all(name in entry for entry in entries) and total != manifest[name]:
                yield f"{name}: {manifest[name]:,}, those of the shards add up to {total:,}"
        if manifest["statuses"].get("ok") != manifest["samples"]:
            yield f"samples: {manifest['samples']:,}, but {manifest['statuses'].get('ok', 0):,} rows are ok"
        if manifest.get("source", {}).get("kind") == "webdataset":  # a key that comes again in them is a new sample
            return
        keys = np.concatenate([np.empty(0, np.int64), *self.hashes])
        if twice := len(keys) - len(np.unique(keys)):
            yield f"{twice:,} keys stand twice"

    def _others(self, entries: list[dict[str, Any]]) -> Iterator[Problem]:
        """Files that belong to nothing, and a skip list that does not fit."""
        stems = {Path(entry.get("index") or entry["file"]).stem for entry in entries}
        for path in sorted([*self.folder.glob("shards/*"), *self.folder.glob("rows/*")]):
            if path.stem not in stems or path.suffix not in (".tar", ".idx", ".parquet"):
                yield self.problem(path, "not in the manifest", f"delete it: rm {path}")
        path, count = self.folder / skip.FILE, sum(entry["samples"] for entry in entries)
        try:
            if (listed := skip.read(self.folder)).size and not 0 <= listed[0] <= listed[-1] < count:
                yield self.problem(path, "positions beyond the data set", "make it again: vltk data dedup")
        except VltkError as error:
            what, _, remedy = str(error).removeprefix(f"{path}: ").rpartition(": make")
            yield self.problem(path, what, f"make{remedy}")
        yield from self._codes(entries)

    def _codes(self, entries: list[dict[str, Any]]) -> Iterator[Problem]:
        """Files of codes that are not as they were written."""
        for listed in sorted(self.folder.glob(f"{codes.FOLDER}/*/{codes.FILE}")):
            try:
                found = codes.StoredCodes(listed.parent)
            except VltkError as error:
                what, _, remedy = str(error).removeprefix(f"{listed}: ").partition("\n")
                yield self.problem(listed, what, remedy)
                continue
            if not found.are_of(entries):
                yield self.problem(listed, "made of other content of this data set", found.remedy)
            yield from (self.problem(path, what, found.remedy) for path, what in found.problems())
