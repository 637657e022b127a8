"""The work of a planned fetch: download and pack in rounds, then publish; from the journal on after a kill."""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from vltk.data.fetch import plan as plans
from vltk.data.fetch.downloader import Piece, download
from vltk.data.fetch.early import Look, TooFew
from vltk.data.fetch.options import FetchOptions
from vltk.data.fetch.packer import Packer, Round, workers
from vltk.data.fetch.pieces import Clean, read_table, write_clean
from vltk.data.fetch.plan import Plan, groups
from vltk.data.fetch.progress import FetchProgress
from vltk.data.fetch.state import State
from vltk.data.publish import publish
from vltk.data.shard import Manifest
from vltk.errors import VltkError
from vltk.log import say
from vltk.whole import sync


def finish(folder: Path, plan: Plan, options: FetchOptions, expected: float | None) -> Manifest:
    """Do all that the plan of `folder` wants and the journal does not have yet; `expected` share of good rows.

    Raises VltkError when the first rows give too few images, or img2dataset makes no progress.
    """
    state = State(folder / ".fetch" / "journal.jsonl")
    if state.shards:
        say(f"going on: {len(state.shards)} shards are done, {sum(state.statuses().values()):,} of {plan.rows:,} rows")
    if plan.kept is not None and not state.looked:
        state.looked_at()  # rows that failed before tell nothing of this machine
    counts = Counter(state.statuses())
    for entry in plan.kept or ():
        counts.update(entry["statuses"])
    with FetchProgress(plan.rows, counts) as progress:
        fetch = _Fetch(folder, plan, state, options, expected, progress)
        for round in fetch.rounds():
            fetch.one_round(round)
        say(progress.line())
    return fetch.publish()


@dataclass(frozen=True)
class _Fetch:
    folder: Path
    plan: Plan
    state: State
    options: FetchOptions
    expected: float | None
    progress: FetchProgress

    @property
    def work(self) -> Path:
        return self.folder / ".fetch"

    def rounds(self) -> Iterator[Round]:
        """The first round, and further ones while rows are left that may do better; each waits until it is time."""
        plan = self.plan
        first_shard, pieces, folder = plan.first_shard, plan.pieces, self.work / "plan"
        for number in count(1):
            yield Round(number, folder, pieces, plan.group, first_shard, last=number >= self.options.rounds)
            left = self.state.again(number)
            if not left:
                return
            first_shard += groups(pieces, plan.group)
            folder = self.work / f"round-{number + 1}"
            pieces = self._collected(number, folder)
            self._wait(self.state.rounds[number + 1]["at"], f"round {number + 1}: {left:,} rows again")

    def _collected(self, number: int, folder: Path) -> int:
        """The rows that round `number` left, as pieces of the next round in `folder`; how many pieces."""
        if number + 1 not in self.state.rounds:
            part = plans.empty(folder.with_name(f"{folder.name}.part"))
            shutil.rmtree(folder, ignore_errors=True)
            files = sorted((self.work / f"again-{number}").glob("*.parquet"))
            rows = (Clean(**row) for path in files for row in read_table(path))
            found = write_clean(rows, part, self.plan.piece)
            part.rename(folder)
            sync(self.work)
            pause = self.options.pause * 2 ** (number - 1)
            self.state.began(number + 1, found.pieces, found.usable, time.time() + pause)
        pieces: int = self.state.rounds[number + 1]["pieces"]
        return pieces

    def _wait(self, until: float, why: str) -> None:
        while (seconds := until - time.time()) > 0:
            self.progress.note(f"{why} in {seconds:.0f} s")
            time.sleep(min(1.0, seconds))
        self.progress.note(why)

    def one_round(self, round: Round) -> None:
        """Download and pack what the journal does not have yet of a round."""
        raw = self.work / f"raw-{round.number}"
        if any((round.number, group) not in self.state.shards for group in range(round.shards)):
            try:
                self._download(round, raw)
            except TooFew:
                self._forget()
                raise
        shutil.rmtree(raw, ignore_errors=True)

    def _download(self, round: Round, raw: Path) -> None:
        limits = self.options.limits()
        look = _Looking(self.state, Look(self.expected, limits))
        with Packer(self.work, self.state, round, limits, workers(), self.progress.row) as packer:

            def on_piece(piece: Piece) -> None:
                look.at(piece)
                packer.take(piece)

            self.progress.follow(raw / "proxy.jsonl")
            options = self.options.downloader(self.plan.piece)
            download(round.folder / "urls", raw, options, self.options.policy(), on_piece)
            look.settle()
            packer.finish()

    def _forget(self) -> None:
        """Remove what was fetched, but not the plan: the next run begins with the first row."""
        (self.work / "journal.jsonl").unlink(missing_ok=True)
        for name in ("raw-1", "again-1", "data"):
            shutil.rmtree(self.work / name, ignore_errors=True)

    def publish(self) -> Manifest:
        """The data set, of all shards that were made and, when lost rows were tried again, of those that stay."""
        entries = [*(self.plan.kept or ()), *self.state.entries()]
        counted = sum(entry["rows"] for entry in entries)
        if counted != self.plan.rows:
            what = f"{counted:,} rows have a status, the list has {self.plan.rows:,}"
            raise VltkError(f"{self.work}: {what}: fetch it with --restart")
        if not self.state.joined:
            self._join()
            self.state.join()
        return publish(self.work / "data", self.folder, entries, self.plan.facts, self.plan.replace)

    def _join(self) -> None:
        """Put the quarantine, and what stays of a data set whose lost rows were tried again, beside the new shards."""
        data, plan = self.work / "data", self.work / "plan"
        for entry in self.plan.kept or ():
            file = Path(entry["file"])
            for ending in (".tar", ".idx"):
                _link(self.folder / file.with_suffix(ending), data / "shards")
            _link(plan / "kept" / file.with_suffix(".parquet").name, data / "rows")
        quarantine = (self.folder if self.plan.kept else plan) / "quarantine" / "rows.jsonl"
        if quarantine.exists():
            _link(quarantine, data / "quarantine")


class _Looking:
    """The early look, until it is settled; once in a fetch."""

    def __init__(self, state: State, look: Look) -> None:
        self.state, self.look = state, look

    def at(self, piece: Piece) -> None:
        if not self.state.looked:
            self.look.at(piece)
            if self.look.enough:
                self.state.looked_at()

    def settle(self) -> None:
        """A list too short for the full look is judged by what there is."""
        if not self.state.looked:
            self.look.judge()
            self.state.looked_at()


def _link(path: Path, place: Path) -> None:
    place.mkdir(parents=True, exist_ok=True)
    if not (place / path.name).exists():
        os.link(path, place / path.name)
