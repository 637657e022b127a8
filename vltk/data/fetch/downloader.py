"""img2dataset under a watchdog: all its traffic through the guarding proxy, raw bytes out, restarted when it hangs."""

from __future__ import annotations

import importlib.util
import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from vltk import log
from vltk.data.fetch.group import Group
from vltk.data.fetch.output import Output
from vltk.data.fetch.piece import Outcome, Piece, outcomes
from vltk.data.fetch.policy import Policy
from vltk.data.fetch.proxy import Proxy
from vltk.data.lock import locked
from vltk.errors import VltkError

__all__ = ["Options", "Outcome", "Piece", "download", "outcomes"]
START = 240.0  # seconds until the first sign of an attempt; imports on a busy machine take a while
LOOK = 0.2  # seconds between two looks at the output
LOCK_WAIT = 10.0  # seconds that a killed run may take to be gone


@dataclass(frozen=True)
class Options:
    """How img2dataset runs: processes x threads, rows a piece, and when it counts as hung (seconds).

    `restarts` is how often it is started again in a row without a new piece before the fetch gives up.
    """

    processes: int = 2
    threads: int = 32
    piece: int = 1000
    distributor: Literal["multiprocessing", "pyspark", "ray"] = "multiprocessing"
    stall: float = 120.0
    restarts: int = 5


def download(urls: Path, out: Path, options: Options, policy: Policy, on_piece: Callable[[Piece], None]) -> None:
    """Fetch every URL of a parquet file, or of a folder of them (columns url and row; others are not read).

    `on_piece` gets each finished piece once, in the order they finish, in this thread: also those that were finished
    in an earlier run and not yet given back by `Piece.discard`. While it runs no further piece is begun (except on a
    cluster), so one that waits bounds what lies on disk. What it raises ends the download. Pieces are numbered over the
    files in the order of their names, each file cut every `options.piece` rows; the same `urls` and `piece` must be
    given when a stopped download is taken up again. Work in progress is in `out`.
    Raises VltkError when img2dataset makes no progress any more, or `out` belongs to other URLs or is in use.
    """
    _check_distributor(options.distributor)
    with locked(out, LOCK_WAIT) as lock:
        output = Output(out, _sizes(urls, options.piece))
        _check_same(out, output.sizes)
        _Download(urls, output, options, policy, on_piece, lock).run()


@dataclass
class _Download:
    urls: Path
    output: Output
    options: Options
    policy: Policy
    on_piece: Callable[[Piece], None]
    lock: int

    @property
    def here(self) -> bool:
        """Whether all workers are on this machine."""
        return self.options.distributor == "multiprocessing"

    def run(self) -> None:
        """Attempts until every piece was handed out."""
        left = self.options.restarts
        self.hand_out()
        while not self.output.complete:
            self.output.clean()
            before = len(self.output.done)
            reason = self.attempt()
            left = self.options.restarts if len(self.output.done) > before else left - 1
            if reason and left < 0:
                raise VltkError(f"the download makes no progress: {reason}\n{self.last_words()}")
            if reason:
                log.warn(f"img2dataset is started again: {reason}")
        self.output.clean()

    def attempt(self) -> str:
        """img2dataset run once. Why it is over before all pieces were there; "" when they are."""
        with (
            Proxy(self.policy, self.output.folder / "proxy.jsonl") as proxy,
            Group(self.order(proxy), self.output.folder, self.lock) as group,
        ):
            signs, since, patience = self.output.signs(), time.monotonic(), max(START, self.options.stall)
            while not self.output.complete:
                reason = _trouble(group, proxy)  # before the look: what was finished until then is found by it
                if self.hand_out(group) or self.output.signs() != signs:
                    signs, since, patience = self.output.signs(), time.monotonic(), self.options.stall
                if time.monotonic() - since > patience:
                    reason = f"nothing arrived for {patience:g} s"
                if reason and not self.output.complete:
                    return reason
                time.sleep(LOOK)
        return ""

    def order(self, proxy: Proxy) -> dict[str, Any]:
        """What the child is told; on a cluster each worker has a proxy of its own."""
        return {
            "urls": str(self.urls.resolve()),
            "out": str(self.output.folder.resolve()),
            "proxy": proxy.url if self.here else None,
            "policy": asdict(self.policy),
            "options": asdict(self.options),
        }

    def hand_out(self, group: Group | None = None) -> bool:
        """Gives every new whole piece to `on_piece` while the group stands still; whether there was one."""
        before = len(self.output.done)
        for piece in self.output.finished():
            if group and self.here:
                group.hold()
            self.on_piece(piece)
        if group and self.here and len(self.output.done) > before:
            group.go_on()
        return len(self.output.done) > before

    def last_words(self) -> str:
        lines = (self.output.folder / "child.log").read_text(errors="replace").splitlines()[-8:]
        told = "".join(f"  {line}\n" for line in lines)
        return f"{told}What has arrived is kept. Run it again; fewer processes and threads need less memory."


def _trouble(group: Group, proxy: Proxy) -> str:
    """Why an attempt cannot go on, "" when it can."""
    if not proxy.alive:
        return "the proxy died"
    if (code := group.ended()) is not None:
        return f"img2dataset ended before every row was there (exit code {code})"
    return ""


def _check_distributor(name: str) -> None:
    if name != "multiprocessing" and importlib.util.find_spec(name) is None:
        raise VltkError(f"the distributor {name} needs a package that is not installed: pip install {name}")


def _sizes(urls: Path, piece: int) -> list[int]:
    """The rows of every piece, as img2dataset cuts them."""
    import pyarrow.parquet as pq

    files = sorted(urls.glob("*.parquet")) if urls.is_dir() else [urls]
    if not files:
        raise VltkError(f"no .parquet file in {urls}")
    rows = [pq.ParquetFile(file).metadata.num_rows for file in files]
    return [min(piece, count - start) for count in rows for start in range(0, count, piece)]


def _check_same(out: Path, sizes: list[int]) -> None:
    """Raises VltkError when the folder was begun with other rows or another piece size: numbers would mean others."""
    note = out / "sizes"
    now = json.dumps(sizes)
    if note.exists() and note.read_text() != now:
        raise VltkError(f"{out} was begun with another list of URLs or another piece size: delete it, or give the same")
    part = out / "sizes.part"
    part.write_text(now)
    os.replace(part, note)
