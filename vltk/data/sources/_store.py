"""Files that were downloaded (zips, tars, single files, folders) seen as one set of names; nothing is unpacked."""

from __future__ import annotations

import codecs
import io
import json
import os
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any

from vltk.data.prepare import NotAdmitted
from vltk.data.statuses import Status
from vltk.errors import VltkError

Opener = Callable[[], IO[bytes]]
CHUNK = 1 << 20
LONGEST = 1 << 26  # characters of one object
GAP = re.compile(r"[\s,]*")


class Store:
    """Names to bytes over several places. A name is found by its path, or by the end of it where that is the only one.

    Raises VltkError for a damaged zip or tar.
    """

    def __init__(self, places: list[Path]) -> None:
        self.places = places
        self._open: dict[str, tuple[int, Opener]] = {}
        for place in places:
            self._add(place)
        self._by_name: dict[str, list[str]] = {}
        for name in self._open:
            self._by_name.setdefault(PurePosixPath(name).name, []).append(name)

    def _add(self, place: Path) -> None:
        if place.is_dir():
            for path in sorted(path for path in place.rglob("*") if path.is_file()):
                self._open[path.relative_to(place).as_posix()] = (path.stat().st_size, partial(_file, path))
        elif place.suffix == ".zip":
            self._add_zip(place)
        elif place.suffix == ".tar":
            self._add_tar(place)
        else:
            self._open[place.name] = (place.stat().st_size, partial(_file, place))

    def _add_zip(self, place: Path) -> None:
        try:
            packed = zipfile.ZipFile(place)
        except zipfile.BadZipFile as error:
            raise VltkError(
                f"{place} is no whole zip ({error}): delete it, and the same command gets it again"
            ) from None
        for info in packed.infolist():
            if not info.is_dir():
                self._open[info.filename] = (info.file_size, partial(packed.open, info))

    def _add_tar(self, place: Path) -> None:
        try:
            with tarfile.open(place, "r:") as tar:
                for member in tar:
                    if member.isfile():
                        opened = partial(_span, place, member.offset_data, member.size)
                        self._open[member.name.removeprefix("./")] = (member.size, opened)
        except tarfile.TarError as error:
            raise VltkError(
                f"{place} is no whole tar ({error}): delete it, and the same command gets it again"
            ) from None

    def find(self, name: str) -> str | None:
        """The full name, or None where it is not there, or there more than once."""
        if name in self._open:
            return name
        parts = PurePosixPath(name).parts
        alike = self._by_name.get(parts[-1], []) if parts else []
        found = [path for path in alike if PurePosixPath(path).parts[-len(parts) :] == parts]
        return found[0] if len(found) == 1 else None

    def image(self, name: str, max_bytes: int | None) -> bytes:
        """The bytes of an image. Raises NotAdmitted: missing_file, too_large, undecodable (a damaged archive)."""
        path = self.find(name)
        if path is None:
            raise NotAdmitted(Status.missing_file, f"{name}: not there, or there more than once")
        size, opened = self._open[path]
        if max_bytes is not None and size > max_bytes:
            raise NotAdmitted(Status.too_large, f"{size} bytes, more than {max_bytes}")
        try:
            with opened() as file:
                return file.read(size + 1)[:size]
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
            raise NotAdmitted(Status.undecodable, f"{path}: {error}") from None

    def open(self, name: str) -> IO[bytes]:
        """A file of annotations. Raises VltkError with what there is."""
        path = self.find(name)
        if path is None:
            have = [known for known in self._open if PurePosixPath(known).suffix in (".json", ".jsonl", ".csv", ".tsv")]
            places = ", ".join(place.name for place in self.places)
            raise VltkError(
                f"{name} is not in {places}; there is {', '.join(sorted(have)[:10]) or 'no such kind of file'}"
            )
        return self._open[path][1]()


def _file(path: Path) -> IO[bytes]:
    return path.open("rb")


def _span(path: Path, offset: int, size: int) -> IO[bytes]:
    with path.open("rb") as file:
        return io.BytesIO(os.pread(file.fileno(), size, offset))


def objects(file: IO[bytes], where: str) -> Iterator[dict[str, Any]]:
    """The objects of a JSON list, one at a time, however long the list is. Raises VltkError for what is none."""
    decoder, text = json.JSONDecoder(), _decoded(file)
    held = next(text, "").lstrip("\ufeff \t\r\n")
    if not held.startswith("["):
        raise VltkError(f"{where}: a JSON list expected")
    at = 1
    while True:
        at = _gap(held, at)
        if held.startswith("]", at):
            return
        try:
            entry, at = decoder.raw_decode(held, at)
        except ValueError:
            more = next(text, None)
            if more is None or len(held) - at > LONGEST:
                raise VltkError(f"{where}: the JSON list is cut short or damaged at {held[at : at + 80]!r}") from None
            held, at = held[at:] + more, 0
            continue
        yield entry


def _gap(text: str, at: int) -> int:
    gap = GAP.match(text, at)
    return gap.end() if gap else at


def _decoded(file: IO[bytes]) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    while data := file.read(CHUNK):
        yield decoder.decode(data)
    yield decoder.decode(b"", final=True)
