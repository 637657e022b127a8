"""What a fetch will take, said before it starts: disk, time, memory."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vltk.errors import VltkError

if TYPE_CHECKING:  # takes half a second; `size` and `duration` are wanted by commands that answer at once
    from vltk.data.fetch.options import FetchOptions

RAW = 250_000  # bytes of an image on the web, on average (assumed; photographs of 60 KB to 500 KB)
STORED = 24_000  # bytes of a stored sample at a short side of 256 and quality 90 (data.md section 1)
ROW = 400  # bytes of a row in the working folder and in the rows parquet
LATENCY = 1.5  # seconds from a request to its last byte, failures included (assumed)
PACKED = 120  # images a second that one core checks and shrinks (data.md section 4.1, with hashes)
PROCESS = 350 * 2**20  # bytes of memory of one process of img2dataset
WAITING = 4  # shards' worth of raw images on disk: packed, whole, and in the hands of img2dataset
SPARE = 1 << 28  # bytes that are left free
DEFAULT_RATE = 0.6  # of addresses that give an image, where nothing is known (data.md section 1)


@dataclass(frozen=True)
class Estimate:
    """Samples expected; bytes on disk at the end and at the most on the way; seconds; bytes of memory."""

    rows: int
    samples: int
    stored: int
    needed: int
    seconds: float
    memory: int

    def __str__(self) -> str:
        return (
            f"{self.samples:,} samples expected from {self.rows:,} rows; disk {size(self.stored)}, at most "
            f"{size(self.needed)} on the way; about {duration(self.seconds)}; memory {size(self.memory)}"
        )


def estimate(rows: int, options: FetchOptions, rate: float | None = None, per_sample: int | None = None) -> Estimate:
    """For that many rows to fetch, of which the share `rate` gives a sample of `per_sample` bytes (at 256 pixels)."""
    samples = round(rows * (rate or DEFAULT_RATE))
    scale = (options.short_side / 256) ** 2 if options.short_side else RAW / STORED
    stored = round(samples * (per_sample or STORED) * scale) + rows * ROW // 2
    waiting = min(WAITING * options.shard_size, rows) * RAW
    connections = min(options.processes * options.threads, options.connections)
    seconds = max(rows * LATENCY / connections, samples / (PACKED * options.processes))
    memory = options.processes * (PROCESS + options.threads * RAW) + 4 * options.max_pixels
    return Estimate(rows, samples, stored, stored + waiting + rows * ROW, seconds, memory)


def require_disk(folder: Path, needed: int) -> None:
    """Raises VltkError when the disk of `folder` has less free than that (bytes)."""
    place = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(place).free
    if free < needed + SPARE:
        raise VltkError(
            f"the disk of {place} is too small: about {size(needed)} are needed, {size(free)} are free\n"
            "Free some space, set VLTK_DATA to another disk, or fetch less: limit=ROWS, short_side=PIXELS"
        )


def size(count: float) -> str:
    """Bytes for people: `1.2 GB`."""
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit in ("B", "KB") else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def duration(seconds: float) -> str:
    """Seconds for people: `3 h 20 min`."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
