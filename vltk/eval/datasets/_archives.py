"""The members of a zip or an uncompressed tar, each read by its offset: no shared position, so any thread may read."""

from __future__ import annotations

import io
import os
import struct
import tarfile
import weakref
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Protocol

from vltk.errors import VltkError

BLOCK = 512  # bytes of a tar header, and of the empty block at its end
LOCAL = struct.Struct("<4s22xHH")  # head of a zip member: mark, bytes of the name, bytes of the extra field


class Member(Protocol):
    """One file of an archive, which lies at `place`."""

    @property
    def place(self) -> Path: ...

    def open(self) -> BinaryIO:
        """Raises VltkError where the bytes are damaged."""


def members(archive: Path) -> dict[str, Member]:
    """The files of a zip or tar by name; links, devices, names that lead out and droppings of macOS are left out.

    Raises VltkError for an archive that is damaged or cut short.
    """
    try:
        found = _zip_members(archive) if archive.suffix == ".zip" else _tar_members(archive)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, struct.error) as error:
        raise VltkError(f"{archive} is damaged or cut short ({error}): bring it again") from None
    return {inner: member for name, member in found.items() if (inner := _inside(name))}


class _Raw:
    """An open file that is read by position."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._number = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._number)

    def pread(self, size: int, offset: int) -> bytes:
        return os.pread(self._number, size, offset)


@dataclass(frozen=True, slots=True)
class _Span:
    """Bytes that stand in the archive as they are."""

    raw: _Raw
    offset: int
    size: int

    @property
    def place(self) -> Path:
        return self.raw.path

    def open(self) -> BinaryIO:
        return io.BufferedReader(_Window(self))


@dataclass(frozen=True, slots=True)
class _Zipped:
    """A member of a zip; a compressed one is held in memory whole while it is open."""

    raw: _Raw
    info: zipfile.ZipInfo

    @property
    def place(self) -> Path:
        return self.raw.path

    def open(self) -> BinaryIO:
        span = _Span(self.raw, self._start(), self.info.compress_size)
        if self.info.compress_type == zipfile.ZIP_STORED:
            return span.open()
        return io.BytesIO(self._inflated(self.raw.pread(span.size, span.offset)))

    def _start(self) -> int:
        """Where the bytes begin. Raises VltkError for what cannot be read in place."""
        if self.info.flag_bits & 1:
            raise self._wrong("is encrypted: unpack the archive with its password")
        if self.info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise self._wrong(f"is packed in way {self.info.compress_type}: unpack the archive")
        head = self.raw.pread(30, self.info.header_offset)
        if len(head) < 30 or head[:4] != b"PK\x03\x04":
            raise self._wrong("is not where the archive says: bring the archive again")
        _, name, extra = LOCAL.unpack(head)
        return int(self.info.header_offset + 30 + name + extra)

    def _inflated(self, data: bytes) -> bytes:
        try:
            plain = zlib.decompress(data, -zlib.MAX_WBITS)
        except zlib.error as error:
            raise self._wrong(f"is damaged ({error}): bring the archive again") from None
        if zlib.crc32(plain) != self.info.CRC:
            raise self._wrong("is damaged (its checksum differs): bring the archive again")
        return plain

    def _wrong(self, what: str) -> VltkError:
        return VltkError(f"{self.raw.path}: {self.info.filename} {what}")


class _Window(io.RawIOBase):
    """A file over a span."""

    def __init__(self, span: _Span) -> None:
        self.span, self.at = span, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self.at = max(0, offset + (0, self.at, self.span.size)[whence])
        return self.at

    def tell(self) -> int:
        return self.at

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        data = self._next(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        pieces = []
        while piece := self._next(1 << 30):
            pieces.append(piece)
        return b"".join(pieces)

    def _next(self, most: int) -> bytes:
        """Raises EOFError where the archive has become shorter."""
        count = max(0, min(most, self.span.size - self.at))
        data = self.span.raw.pread(count, self.span.offset + self.at)
        if len(data) < count:
            raise EOFError(f"{self.span.place} ends in the middle")
        self.at += count
        return data


def _zip_members(archive: Path) -> dict[str, Member]:
    with zipfile.ZipFile(archive) as packed:
        infos = packed.infolist()
    raw = _Raw(archive)
    plain = (0, 8)  # kinds in the unix mode: not said, a file
    files = [info for info in infos if info.external_attr >> 28 in plain and not info.is_dir()]
    return {info.filename: _Zipped(raw, info) for info in files}


def _tar_members(archive: Path) -> dict[str, Member]:
    """Raises tarfile.ReadError also where no empty block stands behind the last member: a tar that was cut there."""
    raw, end = _Raw(archive), 0
    found: dict[str, Member] = {}
    with tarfile.open(archive, "r:") as tar:
        for member in tar:
            if member.issparse():
                raise tarfile.ReadError(f"{member.name} is a sparse file: unpack the tar")
            size = member.size if member.isreg() else 0
            end = member.offset_data + -(-size // BLOCK) * BLOCK
            if member.isreg():
                found[member.name] = _Span(raw, member.offset_data, member.size)
            tar.members.clear()  # type: ignore[attr-defined]  # tarfile keeps them all otherwise: a gigabyte for a million
    if raw.pread(BLOCK, end) != bytes(BLOCK):
        raise tarfile.ReadError("it ends in the middle")
    return found


def _inside(name: str) -> str | None:
    """The name below the archive's folder; None for a name that leads out of it, and for what macOS left."""
    path = PurePosixPath(name)
    bad = path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name
    if bad or path.name.startswith("._") or path.parts[:1] == ("__MACOSX",):
        return None
    return path.as_posix()
