"""Whether an index fits its tar: each member is where the index says, and no byte of the tar belongs to nothing."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from vltk.data.shard import ABSENT, BLOCK

MEMBERS = ("image", "text", "meta")  # in the order they lie in the tar
ENDINGS = {"text": "txt", "meta": "json"}


@contextmanager
def mapped(path: Path) -> Iterator[mmap.mmap]:
    """The bytes of a file that is not empty, without reading them all."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        yield data


def misfit(tar: mmap.mmap, index: np.ndarray) -> str | None:
    """What does not fit between a tar of vltk and the rows of its index; None when all does."""
    spans = sum(np.where(index[name] == ABSENT, 0, BLOCK + _padded(index[name])) for name in MEMBERS)
    begins = np.concatenate([[0], np.cumsum(spans)]).astype(np.uint64)  # (S + 1,)
    wrong = np.flatnonzero(begins[:-1] != index["offset"])
    if len(wrong):
        return f"sample {wrong[0]} does not begin where the one before ends"
    if int(begins[-1]) + 2 * BLOCK != len(tar):
        return f"the samples end at byte {begins[-1]}, the tar at byte {len(tar)}"
    return next((what for entry in index for what in _wrong_members(tar, entry)), None)


def scattered_misfit(tar: mmap.mmap, index: np.ndarray) -> str | None:
    """The same for a tar of others, whose members lie anywhere and may have their names elsewhere."""
    for name in MEMBERS:
        there = index[index[name] != ABSENT]
        for begin, size in zip(there[f"{name}_at"].tolist(), there[name].tolist(), strict=True):
            found = _header(tar[begin - BLOCK : begin]) if begin >= BLOCK else None
            if found is None or found[1] != size or begin + size > len(tar):
                return f"no {name} of {size:,} bytes at byte {begin:,}, where the index has one"
    return None


def _padded(sizes: np.ndarray) -> np.ndarray:
    whole = sizes.astype(np.uint64)
    return (whole + np.uint64(BLOCK - 1)) // np.uint64(BLOCK) * np.uint64(BLOCK)


def _wrong_members(tar: mmap.mmap, entry: np.void) -> Iterator[str]:
    """What is wrong about the members of one sample."""
    offset, sample = int(entry["offset"]), None
    for name in MEMBERS:
        if (size := int(entry[name])) == ABSENT:
            continue
        header = tar[offset : offset + BLOCK]
        found = _header(header)
        if found is None or found[1] != size:
            yield f"no {name} of {size:,} bytes at byte {offset:,}, where the index has one"
            return
        key, _, ending = found[0].partition(".")
        if (sample is not None and key != sample) or ending != ENDINGS.get(name, ending):
            yield f"{found[0]} stands at byte {offset:,}, where the index has the {name} of sample {sample or key}"
            return
        sample = key
        offset += BLOCK + size + -size % BLOCK


def _header(header: bytes) -> tuple[str, int] | None:
    """Name and size of a member; None when the block is no header, by its own sum."""
    try:
        total = int(header[148:156].rstrip(b"\0 "), 8)
        size = int(header[124:136].rstrip(b"\0 "), 8)
    except ValueError:
        return None
    if total != sum(header[:148]) + 8 * 32 + sum(header[156:]):
        return None
    name, prefix = (
        header[:100].rstrip(b"\0").decode("utf-8", "replace"),
        header[345:500].rstrip(b"\0").decode("utf-8", "replace"),
    )
    return (f"{prefix}/{name}" if prefix else name), size


def keys(tar: mmap.mmap, index: np.ndarray) -> list[str]:
    """The key of each sample of an index that fits."""
    names = (_header(tar[begin : begin + BLOCK]) for begin in index["offset"].tolist())
    return [name[0].partition(".")[0] for name in names if name is not None]
