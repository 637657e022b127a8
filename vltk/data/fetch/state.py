"""How far a fetch is: a journal of one JSON line a finished step, from which any rerun goes on.

A line is on disk when `write` returns; the last one may be cut by a kill and does not count then.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class State:
    """Steps done: shards by (round, group) with their entry of the manifest, rounds begun, early look, last step."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.shards: dict[tuple[int, int], dict[str, Any]] = {}
        self.rounds: dict[int, dict[str, Any]] = {}
        self.looked = self.joined = False
        for event in self._read():
            self._apply(event)

    def packed(self, round: int, group: int, number: int, entry: dict[str, Any], again: int) -> None:
        """A shard is on disk; `again` of its rows are left to the next round."""
        done = {"round": round, "group": group, "number": number, "again": again, "entry": entry}
        self._write({"event": "shard", **done})

    def began(self, round: int, pieces: int, rows: int, at: float) -> None:
        """A round may start, not before the time `at` (seconds since 1970)."""
        self._write({"event": "round", "round": round, "pieces": pieces, "rows": rows, "at": at})

    def looked_at(self) -> None:
        """The first rows came in as they should."""
        self._write({"event": "looked"})

    def join(self) -> None:
        """The shards are complete in one folder, ready to be moved."""
        self._write({"event": "joined"})

    def entries(self) -> list[dict[str, Any]]:
        """The manifest's entries, by shard number."""
        shards = sorted(self.shards.values(), key=lambda shard: shard["number"])
        return [shard["entry"] for shard in shards]

    def again(self, round: int) -> int:
        """Rows that the shards of a round left to the next one."""
        return sum(shard["again"] for (of, _), shard in self.shards.items() if of == round)

    def statuses(self) -> dict[str, int]:
        """Final rows so far by status."""
        totals: dict[str, int] = {}
        for shard in self.shards.values():
            for status, count in shard["entry"]["statuses"].items():
                totals[status] = totals.get(status, 0) + count
        return totals

    def _apply(self, event: dict[str, Any]) -> None:
        if event["event"] == "shard":
            self.shards[event["round"], event["group"]] = event
        elif event["event"] == "round":
            self.rounds[event["round"]] = event
        elif event["event"] == "joined":
            self.joined = True
        else:
            self.looked = True

    def _write(self, event: dict[str, Any]) -> None:
        with self.path.open("ab") as file:
            file.write(json.dumps(event).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self._apply(event)

    def _read(self) -> Iterator[dict[str, Any]]:
        """All whole lines; a cut one at the end is taken off the file."""
        if not self.path.exists():
            return
        data = self.path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):
            with self.path.open("r+b") as file:
                file.truncate(len(whole))
        for line in whole.splitlines():
            yield json.loads(line)
