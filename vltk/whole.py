"""Files that are there whole or not at all, and that are known again by size and checksum."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A file to write beside `path` that takes its place once it is complete and on the disk; none after a failure.

    Of several processes that write the same file, one does so behind the other.
    """
    part = path.with_name(f"{path.name}.part")
    with _alone(part):
        try:
            yield part
            sync(part)
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise


@contextmanager
def _alone(part: Path) -> Iterator[None]:
    """Makes the file, and holds it by a lock that the system lets go when the process ends."""
    while True:
        handle = os.open(part, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            if _is_open_as(handle, part):
                yield
                return
        finally:
            os.close(handle)


def _is_open_as(handle: int, path: Path) -> bool:
    """Whether it is still this file that has the name: whoever held it before has renamed or removed it."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(handle), path.stat())
    return False


def seal(path: Path) -> dict[str, Any]:
    """Size and sha256 of a file, by which `differs` knows it again."""
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def differs(path: Path, sealed: Mapping[str, Any]) -> str | None:
    """How a file is not the one that was sealed; None where it is. Raises OSError where it cannot be read."""
    if (size := path.stat().st_size) != sealed["bytes"]:
        return f"{path.name} has {size} bytes instead of {sealed['bytes']}"
    return f"{path.name} does not have its checksum" if seal(path)["sha256"] != sealed["sha256"] else None


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
