"""The files of one official data set: its folder and the archives in it, seen as one tree that is only read.

Zip and tar files are read in place, a member by its offset, so that a million photos may stay in one file. What is
compressed as a whole (`.tar.gz`) has no offsets: it is named with the command that turns it into a tar.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import shlex
import zlib
from collections.abc import Container, Iterator, Sequence
from fnmatch import translate
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, cast

from vltk.errors import Missing, VltkError
from vltk.eval.datasets._archives import Member, members

WHOLE = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".rar")  # readable from the start only
UNPACK = {".gz": "gunzip", ".tgz": "gunzip", ".bz2": "bunzip2", ".xz": "unxz", ".rar": "unrar x"}
STATUS = "vltk eval --data-status"


class Files:
    """The tree below `root`; safe to read from many threads.

    A path is that of the official layout (`dtd/images/banded/banded_0002.jpg`). It is found as well where `root` is
    that first folder itself (`inside`, by default the name of `root`), or where everything lies one folder deeper.
    `only` limits the tree to some of the entries of `root`, where other data sets lie beside; `get` is what to type
    for files that are absent, `beside` the trees of other data sets that may hold files of this one. Raises VltkError,
    at the first use, for an archive that is damaged or cut short.
    """

    def __init__(
        self,
        root: Path,
        inside: str | None = None,
        only: Sequence[str] = (),
        get: str = STATUS,
        beside: Sequence[Files] = (),
    ) -> None:
        self.root = root
        self.inside = root.resolve().name if inside is None else inside
        self.only = only
        self.get = get
        self.beside = beside

    def exists(self, path: str) -> bool:
        """Whether there is a file, or a folder with files, of that path."""
        return self._holder(path) is not None

    def names(self, pattern: str) -> list[str]:
        """The paths of the files that fit, sorted; `*` of the pattern stands for folders as well (fnmatch)."""
        return self._names(pattern) or next(filter(None, (files.names(pattern) for files in self.beside)), [])

    def _names(self, pattern: str) -> list[str]:
        found = self._fitting(pattern, "")
        if not found and pattern.startswith(f"{self.inside}/"):
            found = [f"{self.inside}/{name}" for name in self._fitting(pattern.removeprefix(f"{self.inside}/"), "")]
        return found or self._deeper_names(pattern)

    def read(self, path: str) -> bytes:
        """The bytes of a file. Raises Missing where it is absent, VltkError where it is damaged."""
        with self.open(path) as file:
            try:
                return file.read()
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                raise VltkError(f"{self.where(path)} is damaged or cut short: {error}; bring it again") from None

    def open(self, path: str) -> BinaryIO:
        """The file for reading and seeking. Raises Missing where it is absent, VltkError where it is damaged."""
        self.require(path)
        holder = self._holder(path)
        return (holder or self)._open(path)

    def _open(self, path: str) -> BinaryIO:
        name = self._find(path, self._index)
        if name is None:
            raise VltkError(f"{self.root}: {path} is a folder, not a file")
        member = self._index[name]
        if member is not None:
            return member.open()
        place = self._on_disk(name)
        return place.open("rb") if place == self.root / name else cast(BinaryIO, gzip.open(place))

    def require(self, *paths: str) -> None:
        """Raises Missing with every path that is absent, and what to type."""
        if absent := [path for path in paths if not self.exists(path)]:
            steps = [(f"{path}, not there in {self.root}", self.get) for path in absent]
            raise Missing(f"{self.root}: files of the data set are absent:", [*self._packed_steps(), *steps])

    def where(self, path: str) -> str:
        """Where a file lies, for messages: its place on disk, or archive and member."""
        holder = self._holder(path) or self
        name = holder._find(path, holder._index)
        if name is None:
            return str(holder.root / path)
        member = holder._index[name]
        return str(holder._on_disk(name)) if member is None else f"{member.place}: {name}"

    def _on_disk(self, name: str) -> Path:
        """Where a file lies that is in no archive: under its name, or compressed by itself."""
        plain = self.root / name
        return plain if plain.exists() else plain.with_name(f"{plain.name}.gz")

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of the paths and sizes of all files, those of the other trees too."""
        sizes = [(name, (self.root / name).stat().st_size) for name in self._files]
        told = "".join(f"{name}\t{size}\n" for name, size in sizes) + "".join(one.fingerprint for one in self.beside)
        return hashlib.sha256(told.encode()).hexdigest()

    def _holder(self, path: str) -> Files | None:
        """The tree that has the path, this one first."""
        if self._find(path, self._index) is not None or self._find(path, self._folders) is not None:
            return self
        return next((files for files in self.beside if files.exists(path)), None)

    def _find(self, path: str, known: Container[str]) -> str | None:
        """The name in the tree. Raises VltkError where two folders hold such a path."""
        if path in known:
            return path
        inner = path.removeprefix(f"{self.inside}/")
        if inner in known:
            return inner
        return self._one([f"{top}/{path}" for top in self._tops if f"{top}/{path}" in known], path)

    def _one(self, found: list[str], path: str) -> str | None:
        if len(found) > 1:
            raise VltkError(f"{self.root}: {path} is there more than once: {', '.join(found)}; give --data one of them")
        return found[0] if found else None

    def _fitting(self, pattern: str, prefix: str) -> list[str]:
        fits = re.compile(re.escape(prefix) + translate(pattern)).match
        return sorted(name for name in self._index if fits(name))

    def _deeper_names(self, pattern: str) -> list[str]:
        found = {top: self._fitting(pattern, f"{top}/") for top in self._tops}
        top = self._one([top for top, names in found.items() if names], pattern)
        return [] if top is None else [name.removeprefix(f"{top}/") for name in found[top]]

    def _packed_steps(self) -> list[tuple[str, str]]:
        why = "is compressed as a whole and has to be unpacked once"
        return [(f"{path.name} {why}", f"{UNPACK[path.suffix]} {shlex.quote(str(path))}") for path in self._packed]

    @cached_property
    def _files(self) -> list[str]:
        """Every file on disk, relative to the root, sorted."""
        return sorted(_walk(self.root, self.only))

    @cached_property
    def _packed(self) -> list[Path]:
        """Archives that cannot be read in place, without those whose tar lies beside them."""
        there = set(self._files)
        return [self.root / name for name in self._files if name.endswith(WHOLE) and _tar_of(name) not in there]

    @cached_property
    def _index(self) -> dict[str, Member | None]:
        """Each name with its member of an archive; None for what lies on disk, where that goes first."""
        index: dict[str, Member | None] = {}
        archives = [name for name in self._files if name.endswith((".zip", ".tar"))]
        for name in archives:
            folder = name.rpartition("/")[0]
            for inner, member in members(self.root / name).items():
                index.setdefault(f"{folder}/{inner}" if folder else inner, member)
        singles = [name.removesuffix(".gz") for name in self._files if _is_single(name)]
        plain = sorted({*self._files} - {*archives})
        return index | dict.fromkeys([*singles, *plain])

    @cached_property
    def _folders(self) -> frozenset[str]:
        parents = {name.rpartition("/")[0] for name in self._index}
        return frozenset(
            "/".join(parts[:count])
            for parts in (parent.split("/") for parent in parents if parent)
            for count in range(1, len(parts) + 1)
        )

    @cached_property
    def _tops(self) -> list[str]:
        return sorted(folder for folder in self._folders if "/" not in folder)


def _tar_of(name: str) -> str:
    """What `gunzip` and the like turn it into."""
    return f"{name.removesuffix('.tgz')}.tar" if name.endswith(".tgz") else name.rpartition(".")[0]


def _is_single(name: str) -> bool:
    """Whether it is one compressed file, as `train-images-idx3-ubyte.gz`."""
    return name.endswith(".gz") and not name.endswith(WHOLE)


def _walk(root: Path, only: Sequence[str]) -> Iterator[str]:
    """The files below `root`, without hidden ones; links are followed, each folder is seen once."""
    if root.is_file():
        raise VltkError(f"{root} is a file: give the folder that it lies in")
    seen: set[tuple[int, int]] = set()
    for folder, inner, files in os.walk(root, followlinks=True):
        state = os.stat(folder)
        if (state.st_dev, state.st_ino) in seen:
            inner.clear()
            continue
        seen.add((state.st_dev, state.st_ino))
        below = Path(folder).relative_to(root).as_posix()
        top = below == "."
        shown = [name for name in (*inner, *files) if not name.startswith(".")]
        wanted = {name for name in shown if not (top and only) or name in only}
        inner[:] = sorted(wanted.intersection(inner))
        for name in wanted.intersection(files):
            yield name if top else f"{below}/{name}"
