"""Files on S3, GCS or http, read through fsspec with a local cache that all processes of a machine share.

`$VLTK_CACHE` (by default `~/.cache/vltk`) holds whole files under the hash of their content; `$VLTK_CACHE_GB` (100)
bounds it: what was not opened for longest goes first. A file is there only when it is whole and its sha256 is right.
Keys and endpoints are fsspec's own, from the environment or its configuration files (`FSSPEC_S3_ENDPOINT_URL`, ...).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

from vltk.errors import Missing, VltkError

EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs", "http": "http", "https": "http", "memory": "", "file": ""}
BLOCK = 16 * 2**20  # bytes read at once
TRIES, PAUSE = 4, 0.5  # a failed transfer is tried again after 0.5, 1 and 2 seconds
SPARE = 2**30  # bytes of the disk that the cache leaves free
T = TypeVar("T")


def is_remote(place: str) -> bool:
    """Whether it is a URL, not a path."""
    return "://" in place


def joined(base: str, name: str) -> str:
    """`name` below the URL `base`; a URL of its own is taken as it is. Raises VltkError for a way out of `base`."""
    if is_remote(name):
        return name
    if name.startswith("/") or ".." in name.split("/"):
        raise VltkError(f"{base}: its manifest names the file {name!r}, which is not below it")
    return f"{base.rstrip('/')}/{name}"


def opened(url: str) -> IO[bytes]:
    """The file, to be read from its start. Raises VltkError, Missing where a library is absent."""
    import fsspec

    _protocol(url)
    return _said(url, lambda: fsspec.open(url, "rb", block_size=BLOCK).open())


def content(url: str) -> bytes | None:
    """A small file whole, None where there is none. Raises as `opened` does."""

    def read() -> bytes | None:
        try:
            with opened(url) as file:
                data: bytes = file.read()
                return data
        except FileNotFoundError:
            return None

    return _repeated(url, read)


def _protocol(url: str) -> str:
    protocol = url.partition("://")[0]
    if protocol not in EXTRAS:
        raise VltkError(f"{url}: no {protocol}:// here; have: {', '.join(EXTRAS)}")
    return protocol


def _said(url: str, read: Callable[[], T]) -> T:
    """An absent file stays FileNotFoundError; an absent library says what to install; all else names the URL."""
    try:
        return read()
    except (FileNotFoundError, VltkError):
        raise
    except ImportError as error:
        extra = EXTRAS[_protocol(url)]
        raise Missing(f"{url}: {error}", [("the library that reads it", f"pip install 'vltk[{extra}]'")]) from None
    except Exception as error:  # each file system has errors of its own
        raise VltkError(f"{url}: cannot be read: {type(error).__name__}: {error}") from error


def _repeated(url: str, read: Callable[[], T]) -> T:
    """What `read` gives, tried again after a failure that may pass."""
    for turn in range(TRIES):
        try:
            return _said(url, read)
        except (FileNotFoundError, Missing):
            raise
        except VltkError:
            if turn == TRIES - 1:
                raise
            time.sleep(PAUSE * 2**turn)
    raise AssertionError("unreachable")


@dataclass(frozen=True)
class RemoteFile:
    """A file to fetch: `size` in bytes; without `sha256` its URL and size stand for its content."""

    url: str
    size: int
    sha256: str | None = None

    @property
    def name(self) -> str:
        """Of the file in the cache."""
        return self.sha256 or hashlib.sha256(f"{self.url} {self.size}".encode()).hexdigest()


class Cache:
    """A folder of fetched files, at most `limit` bytes; safe between threads and processes."""

    def __init__(self, folder: Path | None = None, limit: int | None = None) -> None:
        self.folder = folder or Path(os.environ.get("VLTK_CACHE") or Path.home() / ".cache" / "vltk")
        self.limit = limit if limit is not None else _limit()

    def open(self, file: RemoteFile) -> int:
        """A descriptor of the whole file. Raises VltkError, FileNotFoundError where it is gone."""
        for _ in range(TRIES):
            path = self.fetch(file)
            try:
                handle = os.open(path, os.O_RDONLY)
            except FileNotFoundError:  # another process has made room for its own
                continue
            os.utime(path)
            return handle
        raise VltkError(
            f"{self.folder} is too small for what is read at once: raise VLTK_CACHE_GB, or lower loader.window"
        )

    def fetch(self, file: RemoteFile) -> Path:
        """The path of the whole file, fetched if need be; it may be gone again once another file needs the room."""
        path = self.folder / file.name[:2] / file.name
        if _whole(path, file.size):
            return path
        if file.size > self.limit:
            raise VltkError(f"{file.url}: {file.size:,} bytes do not fit into the cache: raise VLTK_CACHE_GB")
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path.with_suffix(".part")) as part:
            try:
                if not _whole(path, file.size):
                    self._make_room(file.size, part)
                    _repeated(file.url, lambda: _transfer(file, part))
                    os.link(part, path)
            finally:
                part.unlink()
        return path

    def _make_room(self, size: int, part: Path) -> None:
        """Remove what was not read for longest, and book the room of `part`."""
        with _locked(self.folder / "lock"):
            held = sorted(self._files(), key=lambda entry: entry[1].st_mtime)
            used = sum(facts.st_size for path, facts in held if path != part)
            most = min(self.limit, used + shutil.disk_usage(self.folder).free - SPARE)
            for path, facts in held:
                if used + size <= most:
                    break
                if path != part and _remove(path):
                    used -= facts.st_size
            os.truncate(part, size)

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        for path in self.folder.glob("??/*"):
            with suppress(FileNotFoundError):
                yield path, path.stat()


def _limit() -> int:
    said = os.environ.get("VLTK_CACHE_GB") or "100"
    try:
        return int(float(said) * 2**30)
    except ValueError:
        raise VltkError(f"VLTK_CACHE_GB={said}: should be a number of GiB, as 100") from None


def _whole(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except FileNotFoundError:
        return False


def _transfer(file: RemoteFile, part: Path) -> None:
    """The bytes of the file into `part`, checked."""
    sha, size = hashlib.sha256(), 0
    with opened(file.url) as source, part.open("r+b") as target:
        while block := source.read(BLOCK):
            sha.update(block)
            size += len(block)
            if size > file.size:
                break
            target.write(block)
        target.truncate()
        os.fsync(target.fileno())
    if size != file.size or file.sha256 not in (None, sha.hexdigest()):
        found = f"{size:,} bytes, sha256 {sha.hexdigest()[:12]}"
        raise VltkError(f"{file.url}: not the file that the manifest names ({found}; it says {file.size:,} bytes)")


@contextmanager
def _locked(path: Path) -> Iterator[Path]:
    """The file, made if need be, held by one thread of one process; one that was replaced meanwhile is opened anew."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            if _same(handle, path):
                yield path
                return
        finally:
            os.close(handle)


def _same(handle: int, path: Path) -> bool:
    try:
        return os.fstat(handle).st_ino == path.stat().st_ino
    except FileNotFoundError:
        return False


def _remove(path: Path) -> bool:
    """Remove a cached file; one that is being fetched stays."""
    if path.suffix != ".part":
        path.unlink(missing_ok=True)
        return True
    try:
        handle = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
        return True
    except BlockingIOError:
        return False
    finally:
        os.close(handle)
