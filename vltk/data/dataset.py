"""Reading a data set by position: one `pread` a sample through the binary index, safe from many threads.

A data set NAME is the folder NAME below the data root (`$VLTK_DATA`, or `./data`), as `vltk.data.shard` writes it.
"""

from __future__ import annotations

import hashlib
import json
import os
from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from vltk.data.shard import ABSENT, BLOCK, INDEX
from vltk.errors import Missing, VltkError


@dataclass(frozen=True)
class Sample:
    """One stored sample: encoded image (or None), texts (captions, or one text), labels and other JSON."""

    key: str
    image: bytes | None
    texts: list[str]
    meta: dict[str, Any]


def data_root() -> Path:
    """Where data sets lie: `$VLTK_DATA`, or `data` in the working folder."""
    return Path(os.environ.get("VLTK_DATA") or "data")


def dataset_folder(name: str) -> Path:
    return data_root() / name


def dataset_names() -> list[str]:
    """The data sets on disk, by name."""
    root = data_root()
    return sorted(str(path.parent.relative_to(root)) for path in root.rglob("manifest.json"))


def open_dataset(name: str) -> Dataset:
    """The data set of that name. Raises Missing (what to type) when it is absent, VltkError when a file is damaged."""
    folder = dataset_folder(name)
    if not (folder / "manifest.json").exists():
        from vltk.data.card import steps_for

        raise Missing(f"the data set {name!r} is not on disk (looked in {folder})", steps_for(name))
    return Dataset(name, folder)


class Dataset:
    """A finished data set: `len(ds)`, `ds.read(i)`."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder
        manifest = _read_manifest(folder / "manifest.json", name)
        self.manifest = manifest
        self.paths = [folder / shard["file"] for shard in manifest["shards"]]
        shards = zip(self.paths, manifest["shards"], strict=True)
        self.indexes = [_read_index(path, shard, name) for path, shard in shards]
        self.starts = [0, *accumulate(len(index) for index in self.indexes)]
        content = json.dumps([[shard["samples"], shard["sha256"]] for shard in manifest["shards"]])
        self.digest = hashlib.sha256(content.encode()).hexdigest()

    def __len__(self) -> int:
        return self.starts[-1]

    @property
    def has_images(self) -> bool:
        """Every sample has an image."""
        return self.manifest["images"] == len(self)

    @property
    def has_texts(self) -> bool:
        """Every sample has a text."""
        return all(bool((index["text"] != ABSENT).all()) for index in self.indexes)

    def read(self, position: int) -> Sample:
        """The sample at `position`, 0 to len - 1. Raises VltkError when the tar does not hold what the index says."""
        if not 0 <= position < len(self):
            raise IndexError(f"position {position} of {len(self)} in {self.name}")
        shard = bisect_right(self.starts, position) - 1
        offset, *sizes = self.indexes[shard][position - self.starts[shard]].tolist()
        total = sum(_span(size) for size in sizes if size != ABSENT)
        data = _pread(self.paths[shard], total, offset)
        if len(data) != total or data[257:262] != b"ustar":
            raise _damaged(self.paths[shard], self.name, f"sample {position} is not where the index says")
        key = data[: data.index(b"\0")].decode().partition(".")[0]
        parts = list(_cut(data, sizes))
        meta = json.loads(parts[2]) if parts[2] is not None else {}
        texts = meta.pop("captions", [])
        if not texts and parts[1] is not None:
            texts = [parts[1].decode()]
        return Sample(key, parts[0], texts, meta)


def _span(size: int) -> int:
    """Bytes that a member of `size` bytes takes in a tar."""
    return BLOCK + size + -size % BLOCK


def _cut(data: bytes, sizes: list[int]) -> list[bytes | None]:
    """The bodies of a sample's members, None where there is no such member."""
    parts: list[bytes | None] = []
    start = 0
    for size in sizes:
        if size == ABSENT:
            parts.append(None)
            continue
        parts.append(data[start + BLOCK : start + BLOCK + size])
        start += _span(size)
    return parts


def _pread(path: Path, size: int, offset: int) -> bytes:
    handle = os.open(path, os.O_RDONLY)
    try:
        return os.pread(handle, size, offset)
    finally:
        os.close(handle)


def _read_manifest(path: Path, name: str) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        manifest["shards"], manifest["images"]
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path, name, f"no manifest of a data set ({error})") from None
    return manifest


def _read_index(tar: Path, shard: dict[str, Any], name: str) -> np.ndarray:
    """The index beside a tar, after a look at the sizes of both files."""
    path = tar.with_suffix(".idx")
    if not tar.exists() or not path.exists():
        raise _damaged(path if tar.exists() else tar, name, "the file is gone")
    if tar.stat().st_size != shard["bytes"]:
        sizes = f"{tar.stat().st_size} bytes, the manifest says {shard['bytes']}"
        raise _damaged(tar, name, f"{sizes}: the tar was cut or changed")
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != shard["index_sha256"]:
        raise _damaged(path, name, "not the index that the manifest names")
    return np.frombuffer(data, dtype=INDEX)


def _damaged(path: Path, name: str, what: str) -> VltkError:
    from vltk.data.card import steps_for

    again = "\n".join(f"  {step}:\n  {command} --replace" for step, command in steps_for(name))
    return VltkError(f"{path}: {what}\nThe data set {name!r} has to be made again:\n{again}")
