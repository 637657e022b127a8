"""A finished piece of img2dataset's output: what it holds, read row by row, and whether it is whole.

img2dataset writes NNNNN.tar (key.jpg, key.json), NNNNN.parquet (every row) and then NNNNN_stats.json. The last alone
proves nothing: it says success where the tar is empty. So the members are counted.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vltk.data.fetch.policy import FetchError, quoted
from vltk.data.statuses import Status

PACKED = "packed"  # folder beside the pieces: the stats of those that were packed and given back
IMAGE = ".jpg"  # what img2dataset calls every image, whatever it is
OURS = re.compile(r"vltk ([a-z0-9_]+) ?(.*)", re.DOTALL)  # the proxy's word inside urllib's message
# a connection to the proxy itself that failed: it never leaves a request without an answer while it lives
LOST = re.compile(r"refused|reset by peer|Broken pipe|Remote end closed|IncompleteRead|timed out", re.IGNORECASE)


@dataclass(frozen=True)
class Piece:
    """One finished piece on disk; `number` counts pieces over the whole input, in order."""

    number: int
    tar: Path
    parquet: Path

    @property
    def stats(self) -> Path:
        return self.tar.with_name(f"{self.tar.stem}_stats.json")

    def discard(self) -> None:
        """Frees the disk once the piece is packed; it is then done for good and never fetched or handed out again."""
        place = self.stats.parent / PACKED
        place.mkdir(exist_ok=True)
        os.replace(self.stats, place / self.stats.name)
        self.tar.unlink(missing_ok=True)
        self.parquet.unlink(missing_ok=True)


@dataclass(frozen=True)
class Outcome:
    """How one row ended: raw bytes as the host sent them with `ok` (not yet known to be an image), else None."""

    row: int
    url: str
    data: bytes | None
    status: Status
    detail: str = ""


class Unsound(Exception):
    """A piece that is not what its stats say."""


def outcomes(piece: Piece) -> Iterator[Outcome]:
    """Every row of the piece once, by row number, one image in memory at a time."""
    places = _members(piece.tar)
    with piece.tar.open("rb") as tar:
        for row in sorted(_rows(piece.parquet), key=lambda row: int(row["row"])):
            if row["status"] == "success":
                data = os.pread(tar.fileno(), places[row["key"]][1], places[row["key"]][0])
                yield _success(row, data)
            else:
                status, detail = _meaning(row["url"], row["error_message"] or "")
                yield Outcome(row["row"], row["url"] or "", None, status, detail)


def _success(row: dict[str, Any], data: bytes) -> Outcome:
    if hashlib.sha256(data).hexdigest() == row["sha256"]:
        return Outcome(row["row"], row["url"], data, Status.ok)
    return Outcome(row["row"], row["url"], None, Status.unknown_failure, "changed on disk before packing")


def _meaning(url: str | None, message: str) -> tuple[Status, str]:
    """Status and detail of an error message in img2dataset's parquet."""
    found = OURS.search(message)
    if found and found[1] in list(Status):
        return Status(found[1]), found[2].rstrip(">")
    try:
        quoted(url)  # such a URL never reaches the proxy
    except FetchError as error:
        return error.status, error.detail
    return Status.unknown_failure, message[:200]


def packed(folder: Path) -> set[int]:
    """The numbers of the pieces in this folder that were packed and given back."""
    return {int(stats.name.partition("_")[0]) for stats in (folder / PACKED).glob("*_stats.json")}


def check(piece: Piece, rows: int) -> None:
    """Raises Unsound unless each of the piece's `rows` is there once, and an image for each success and for no other.

    Also when a row failed because the proxy was gone: that says nothing about its URL. Raises ValueError while the
    stats are being written.
    """
    stats = json.loads(piece.stats.read_text())
    try:
        table, places = _rows(piece.parquet), _members(piece.tar)
    except (OSError, tarfile.TarError) as error:  # pyarrow's errors are OSError and ValueError
        raise Unsound(str(error)) from None
    good = {row["key"] for row in table if row["status"] == "success"}
    if not stats["count"] == len(table) == len({row["row"] for row in table}) == rows:
        raise Unsound(f"{len(table)} of {rows} rows arrived")
    if good != set(places) or stats["successes"] != len(good):
        raise Unsound(f"{len(good)} images by the rows, {len(places)} in the tar")
    if lost := [row for row in table if _is_lost(row["error_message"])]:
        raise Unsound(f"{len(lost)} rows without the proxy: {lost[0]['error_message']}")


def _is_lost(message: str | None) -> bool:
    return message is not None and not OURS.search(message) and bool(LOST.search(message))


def _rows(parquet: Path) -> list[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(parquet, columns=["row", "url", "key", "status", "error_message", "sha256"])
    except pa.ArrowInvalid as error:  # no end, no rows: cut short
        raise OSError(str(error)) from None
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def _members(tar: Path) -> dict[str, tuple[int, int]]:
    """key -> (offset, size) of each image in the tar. Raises OSError, tarfile.TarError when it is cut short."""
    end, found = tar.stat().st_size, dict[str, tuple[int, int]]()
    with tarfile.open(tar, "r:") as members:
        for member in members:
            if member.offset_data + member.size > end:
                raise OSError(f"{tar.name} is cut short")
            if member.name.endswith(IMAGE):
                found[member.name.removesuffix(IMAGE)] = member.offset_data, member.size
    return found
