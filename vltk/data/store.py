"""The shards of a data set as files: where they lie, their indexes, and reading them by position."""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property, partial
from pathlib import Path
from threading import Lock, Thread
from typing import Any

from vltk.data.members import Index, Packed, Sample, Scattered
from vltk.data.remote import Cache, RemoteFile, content, is_remote, joined
from vltk.data.shard import INDEX
from vltk.errors import VltkError

HANDLES = 128  # open files a data set
FETCHERS = 4  # files fetched ahead at once
LAYOUTS: dict[str, Callable[[Any], Index]] = {"packed": Packed, "members": Scattered}


class Damaged(Exception):
    """A file on disk is not as the manifest says."""

    def __init__(self, path: Path | str, what: str) -> None:
        super().__init__(what)
        self.path = path


class Absent(Exception):
    """A file cannot be read; the text names it."""


class Store:
    """The shards that a manifest names; their paths and URLs are relative to `folder`, or to the URL `base`.

    Looks at the sizes of local files at once, and at the hash of an index when it is first read. Raises Damaged.
    """

    def __init__(self, folder: Path, entries: list[dict[str, Any]], base: str | None = None) -> None:
        self.folder, self.entries, self.base = folder, entries, base
        self._indexes: dict[int, Index] = {}
        self._handles = Handles()
        self._asked: set[int] = set()
        for shard, entry in enumerate(entries):
            tar, index = self.place(shard), self._index_place(shard)
            if not isinstance(tar, str):
                _check(tar, entry["bytes"], "{sizes}: the tar was cut or changed")
            if not isinstance(index, str):
                size = entry["samples"] * INDEX.itemsize if _layout(entry) == "packed" else entry["index_bytes"]
                _check(index, size, "not the index that the manifest names ({sizes})")

    @cached_property
    def cache(self) -> Cache:
        return Cache()

    @cached_property
    def remote(self) -> bool:
        """Whether tars have to be fetched."""
        return any(isinstance(self.place(shard), str) for shard in range(len(self.entries)))

    def place(self, shard: int) -> Path | str:
        """The path or the URL of a tar."""
        return self._placed(self.entries[shard]["file"])

    def _index_place(self, shard: int) -> Path | str:
        entry = self.entries[shard]
        return self._placed(entry.get("index") or f"{entry['file'].removesuffix('.tar')}.idx")

    def _placed(self, name: str) -> Path | str:
        if self.base is not None:
            return joined(self.base, name)
        return name if is_remote(name) else self.folder / name

    def index(self, shard: int) -> Index:
        """The index of a shard, its hash checked when it is read first."""
        found = self._indexes.get(shard)
        if found is None:
            entry, place = self.entries[shard], self._index_place(shard)
            data = _bytes(place)
            if hashlib.sha256(data).hexdigest() != entry["index_sha256"]:
                raise Damaged(place, "not the index that the manifest names")
            found = self._indexes[shard] = LAYOUTS[_layout(entry)](data)
        return found

    def sample(self, shard: int, row: int) -> Sample:
        """Raises Misfit, Damaged, Absent."""
        return (self._indexes.get(shard) or self.index(shard)).sample(row, partial(self._read, shard))

    def _read(self, shard: int, size: int, offset: int) -> bytes:
        try:
            handle = self._handles.get(shard, self._open)  # held, as another thread may let go of it
            return os.pread(handle.number, size, offset)
        except OSError as error:
            raise Absent(f"{self.place(shard)} cannot be read: {error}") from error

    def _open(self, shard: int) -> int:
        place = self.place(shard)
        return self.cache.open(self._file(shard)) if isinstance(place, str) else os.open(place, os.O_RDONLY)

    def _file(self, shard: int) -> RemoteFile:
        entry = self.entries[shard]
        return RemoteFile(str(self.place(shard)), entry["bytes"], entry["sha256"])

    def fetch_ahead(self, shards: list[int]) -> None:
        """Begin to bring remote tars into the cache."""
        wanted = [shard for shard in shards if shard not in self._asked and isinstance(self.place(shard), str)]
        self._asked = set(shards)
        for first in range(min(FETCHERS, len(wanted))):
            files = [self._file(shard) for shard in wanted[first::FETCHERS]]
            Thread(target=self._fetch, args=(files,), name="vltk-fetch", daemon=True).start()

    def _fetch(self, files: list[RemoteFile]) -> None:
        for file in files:
            with suppress(VltkError, OSError):  # it is fetched again where it is read, and raised there
                self.cache.fetch(file)


class _Handle:
    """An open file, closed when the last reader lets go of it."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __del__(self) -> None:
        os.close(self.number)


class Handles:
    """The files that were opened last."""

    def __init__(self) -> None:
        self._open: dict[int, _Handle] = {}
        self._lock = Lock()

    def get(self, key: int, opened: Callable[[int], int]) -> _Handle:
        handle = self._open.get(key)
        if handle is not None:
            return handle
        handle = _Handle(opened(key))
        with self._lock:
            self._open[key] = handle
            oldest = self._open.pop(next(iter(self._open))) if len(self._open) > HANDLES else None
        del oldest  # closed outside the lock, once its readers are done
        return handle


def _layout(entry: dict[str, Any]) -> str:
    layout = str(entry.get("layout", "packed"))
    if layout not in LAYOUTS:
        raise VltkError(
            f"a shard of layout {layout!r}: written by a newer vltk, or damaged; have: {', '.join(LAYOUTS)}"
        )
    return layout


def _check(path: Path, size: int, otherwise: str) -> None:
    try:
        found = path.stat().st_size
    except FileNotFoundError:
        raise Damaged(path, "the file is gone") from None
    if found != size:
        raise Damaged(path, otherwise.format(sizes=f"{found} bytes, the manifest says {size}"))


def _bytes(place: Path | str) -> memoryview:
    """An index: mapped where it is a file, so that the processes of a machine hold it once."""
    if isinstance(place, str):
        data = content(place)
        if data is None:
            raise Absent(f"{place} is gone")
        return memoryview(data)
    with place.open("rb") as file:
        if not place.stat().st_size:
            return memoryview(b"")
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
