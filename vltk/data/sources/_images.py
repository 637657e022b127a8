"""Where raw images come from: a folder, or an uncompressed tar, as names and a way to read one."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path, PurePosixPath

from vltk.data.image import ENDINGS
from vltk.errors import VltkError


def is_image_name(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix.lower() in ENDINGS and not path.name.startswith(".")


class ImageFiles:
    """The images of a folder (with its sub-folders) or tar: `names` sorted, relative, `/` between folders."""

    def __init__(self, place: Path) -> None:
        self.place = place
        if place.is_dir():
            self._spans: dict[str, tuple[int, int]] = {}
            found: Iterable[str] = (path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file())
        elif place.is_file():
            self._spans = _members(place)
            found = self._spans
        else:
            raise VltkError(f"{place} is not there: give a folder of images or an uncompressed tar of images")
        self.names = sorted(name for name in found if is_image_name(name))
        if not self.names:
            raise VltkError(f"{place}: no images in it (looked for {', '.join(sorted(ENDINGS))})")

    def read(self, name: str) -> bytes:
        """The encoded bytes of one image."""
        if name not in self._spans:
            return (self.place / name).read_bytes()
        offset, size = self._spans[name]
        with self.place.open("rb") as file:
            return os.pread(file.fileno(), size, offset)

    def find(self, name: str) -> str | None:
        """The image that a caption file means by `name`: the same path, or the only one that is the end of it, or ends
        in it: `Images/1.jpg` is `1.jpg` of a folder `Images`, but `train/1.jpg` is never `val/1.jpg`. The file's ending
        may be left out."""
        asked = PurePosixPath(name).parts
        if not asked:
            return None
        alike = self._by_file_name.get(asked[-1], [])
        if name in alike:
            return name
        found = [path for path in alike if _end_alike(asked[:-1], PurePosixPath(path).parts[:-1])]
        return found[0] if len(found) == 1 else None

    @cached_property
    def _by_file_name(self) -> dict[str, list[str]]:
        """File name, with and without its ending, to the paths that have it."""
        found: dict[str, list[str]] = {}
        for name in self.names:
            path = PurePosixPath(name)
            for short in {path.name, path.stem}:
                found.setdefault(short, []).append(name)
        return found


def _end_alike(left: tuple[str, ...], right: tuple[str, ...]) -> bool:
    """Whether the shorter is the end of the longer."""
    shared = min(len(left), len(right))
    return left[len(left) - shared :] == right[len(right) - shared :]


def _members(path: Path) -> dict[str, tuple[int, int]]:
    """Name to (offset, bytes) of each file in a tar. Raises VltkError where the tar is cut, packed, or no tar."""
    try:
        with tarfile.open(path, "r:") as tar:
            files = [member for member in tar if member.isfile()]
            spans = {member.name.removeprefix("./"): (member.offset_data, member.size) for member in files}
            end = tar.offset
    except tarfile.TarError as error:
        if _is_packed(path):
            raise VltkError(f"{path} is compressed: unpack it and give the folder, or an uncompressed tar") from None
        raise _cut(path, str(error)) from None
    with path.open("rb") as file:
        if not os.pread(file.fileno(), 512, end) == b"\0" * 512:
            raise _cut(path, f"no end mark at byte {end}")
    return spans


def _cut(path: Path, reason: str) -> VltkError:
    return VltkError(
        f"{path} is no whole tar ({reason}; {path.stat().st_size} bytes on disk): it was cut short or damaged. "
        f"Copy or download it again, then check it with: tar -tf {path} > /dev/null"
    )


def _is_packed(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(6).startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd"))
