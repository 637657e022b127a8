"""Unpacking archives that nobody vouches for."""

from __future__ import annotations

import fnmatch
import lzma
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from vltk.data.sources._tars import tar_members
from vltk.errors import VltkError

CHUNK = 1 << 20
DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    FileExistsError,
    NotADirectoryError,
)


def unpack(archive: Path, folder: Path, pattern: str = "*", max_bytes: int = 1 << 40) -> list[Path]:
    """The files of a zip or tar (also compressed) whose path or name fits the pattern, below `folder`; sorted.

    Unpacked beside it and moved there when whole: a folder that stands is complete. Raises VltkError and leaves nothing
    for names that lead out of the folder, links, devices, names that stand twice, more than `max_bytes` in all,
    encrypted files, ways of packing that Python does not know, and damaged archives.
    """
    if not folder.exists():
        part = folder.with_name(f"{folder.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        try:
            _extract(archive, part, pattern, max_bytes)
            part.rename(folder)
        except NotImplementedError as error:  # zipfile's word for a way of packing that it does not know
            raise VltkError(f"{archive}: {error}; it is not used") from None
        except DAMAGE as error:
            raise VltkError(f"{archive} is damaged: {error}. Delete it, and the same command gets it again") from None
        finally:
            shutil.rmtree(part, ignore_errors=True)  # gone already where all went well
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _extract(archive: Path, folder: Path, pattern: str, max_bytes: int) -> None:
    left, count = max_bytes, 0
    for name, opened in _members(archive):
        if fnmatch.fnmatch(name, pattern) or fnmatch.fnmatch(PurePosixPath(name).name, pattern):
            target = folder / _inside(name, archive)
            target.parent.mkdir(parents=True, exist_ok=True)
            with opened() as source, target.open("xb") as out:
                while data := source.read(CHUNK):
                    left -= len(data)
                    if left < 0:
                        raise VltkError(f"{archive}: more than {max_bytes:,} bytes when unpacked; it is not used")
                    out.write(data)
            count += 1
    if not count:
        raise VltkError(f"{archive}: nothing in it is named {pattern}")


def _members(archive: Path) -> Iterator[tuple[str, Callable[[], IO[bytes]]]]:
    """Name and opener of each file. Raises VltkError for what is neither file nor folder."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            for info in packed.infolist():
                kind = info.external_attr >> 28  # of the unix mode; 8: a file, 0: not said
                if kind not in (0, 4, 8):
                    raise VltkError(f"{archive}: {info.filename} is a link or device; it is not used")
                if info.flag_bits & 1:
                    raise VltkError(f"{archive}: {info.filename} is encrypted; it is not used")
                if not info.is_dir():
                    yield info.filename, lambda info=info: packed.open(info)  # type: ignore[misc]
        return
    for tar, member in tar_members(archive):
        if not (member.isfile() or member.isdir()):
            raise VltkError(f"{archive}: {member.name} is a link or device; it is not used")
        if member.isfile():
            yield member.name, lambda tar=tar, member=member: tar.extractfile(member)  # type: ignore[misc]


def _inside(name: str, archive: Path) -> PurePosixPath:
    """The name as a path below the folder."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or not path.parts:
        raise VltkError(f"{archive}: {name!r} leads out of its folder; the archive is not used")
    return path
