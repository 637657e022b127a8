"""Where raw images come from: a folder, or an uncompressed tar, as names and a way to read one."""

from __future__ import annotations

import os
import tarfile
from collections import Counter
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path, PurePosixPath

from vltk.errors import VltkError

ENDINGS = {".jpg", ".jpeg", ".jpe", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm"}


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
        """The image that a caption file means by `name`: the same path, or the only one of that file name or stem."""
        return self._known.get(name) or self._known.get(PurePosixPath(name).name)

    @cached_property
    def _known(self) -> dict[str, str]:
        """Path, file name and stem to path; a file name or stem that two paths share is left out."""
        shorts = [(short, name) for name in self.names for short in _short_names(name)]
        often = Counter(short for short, _ in shorts)
        known = {short: name for short, name in shorts if often[short] == 1}
        return {**known, **{name: name for name in self.names}}


def _short_names(name: str) -> set[str]:
    path = PurePosixPath(name)
    return {path.name, path.stem}


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
