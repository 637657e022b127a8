"""Writing the codes of a data set, shard by shard; a run that was killed goes on behind the shards it has finished.

They grow in NAME/.codes/ID, which several processes may fill at once: each shard is an array and, once that is on disk,
an entry beside it. When all are there the folder gets its `codes.json` and moves to NAME/codes/ID.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from vltk import __version__
from vltk.data.codes import FILE, FOLDER, FORMAT, WORK, Rule, StoredCodes, wrong
from vltk.data.dataset import Dataset
from vltk.data.hashes import file_sha256
from vltk.data.lock import locked
from vltk.errors import VltkError
from vltk.whole import sync, whole


class CodeShards:
    """The codes of one data set by one rule in the making: `begin`, `write` what `lacks`, `finish`."""

    def __init__(self, dataset: Dataset, rule: Rule) -> None:
        self.dataset, self.rule = dataset, rule
        self.shards: list[dict[str, Any]] = dataset.manifest["shards"]
        self.work, self.home = dataset.folder / WORK / rule.id, dataset.folder / FOLDER / rule.id

    @contextmanager
    def locked(self) -> Iterator[None]:
        """For one process, or one for all of its group. Raises VltkError while another one makes codes."""
        with locked(self.dataset.folder / WORK):
            yield
            with suppress(OSError):  # other unfinished codes are in it
                self.work.parent.rmdir()

    def begin(self) -> None:
        """Take back codes that stand by this rule: their files that are whole are not made again."""
        if self.home.exists():
            shutil.rmtree(self.work, ignore_errors=True)
            self.home.rename(self.work)
        self.work.mkdir(exist_ok=True)
        listed = self.work / FILE
        if listed.exists():
            with suppress(VltkError):  # a damaged list: all is made again
                codes = StoredCodes(self.work)
                for number, entry in enumerate(codes.shards if codes.rule == self.rule else []):
                    self._note(number, entry)
            listed.unlink()

    def lacks(self, shard: int) -> bool:
        """Whether the codes of a shard are still to be made."""
        entry = self._entry(shard)
        return (
            entry is None
            or entry["of"] != self.shards[shard]["sha256"]
            or wrong(self.work / entry["file"], entry) is not None
        )

    def write(self, shard: int, codes: np.ndarray, bad: list[int]) -> None:
        """`(samples, K, N)`; `bad`: the rows of images that could not be decoded, whose codes mean nothing."""
        path = self.work / f"{shard:05d}.npy"
        with whole(path) as part:
            with part.open("wb") as file:
                np.save(file, codes.astype(self.rule.dtype, copy=False), allow_pickle=False)
            facts = {"bytes": part.stat().st_size, "sha256": file_sha256(part)}
        of = self.shards[shard]["sha256"]
        self._note(shard, {"file": path.name, "samples": len(codes), "bad": bad, "of": of, **facts})

    def finish(self, facts: Mapping[str, Any]) -> StoredCodes:
        """All shards are there: list them with these `facts`, and move them into place."""
        entries = [self._entry(shard) for shard in range(len(self.shards))]
        made = [entry for entry in entries if entry is not None]
        if len(made) < len(entries):
            raise VltkError(
                f"{self.work}: the codes of {len(entries) - len(made)} of {len(entries)} shards are not there: all "
                "processes have to see the data sets in the same folder"
            )
        counts = {"samples": sum(entry["samples"] for entry in made), "bad": sum(len(entry["bad"]) for entry in made)}
        about = {"format": FORMAT, "vltk": __version__, "rule": asdict(self.rule), **counts, **facts, "shards": made}
        with whole(self.work / FILE) as part:
            part.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
        known = {FILE, *(entry["file"] for entry in made)}
        for path in self.work.iterdir():
            if path.name not in known:
                path.unlink()
        sync(self.work)
        self.home.parent.mkdir(exist_ok=True)
        self.work.rename(self.home)
        sync(self.home.parent)
        return StoredCodes(self.home)

    def _place(self, shard: int) -> Path:
        return self.work / f"{shard:05d}.json"

    def _entry(self, shard: int) -> dict[str, Any] | None:
        path = self._place(shard)
        entry: dict[str, Any] | None = json.loads(path.read_text()) if path.exists() else None
        return entry

    def _note(self, shard: int, entry: dict[str, Any]) -> None:
        with whole(self._place(shard)) as part:
            part.write_text(json.dumps(entry))
