"""The files of a folder by their official paths."""

from __future__ import annotations

import gzip
from fnmatch import fnmatchcase
from pathlib import Path
from typing import BinaryIO, cast

from vltk.errors import Missing


class Tree:
    def __init__(self, root: Path) -> None:
        self.root = root

    def exists(self, path: str) -> bool:
        return (self.root / path).exists() or (self.root / f"{path}.gz").exists()

    def names(self, pattern: str) -> list[str]:
        found = (path.relative_to(self.root).as_posix() for path in self.root.rglob("*") if path.is_file())
        return sorted(name for name in found if fnmatchcase(name, pattern))

    def read(self, path: str) -> bytes:
        with self.open(path) as file:
            return file.read()

    def open(self, path: str) -> BinaryIO:
        self.require(path)
        plain = self.root / path
        return plain.open("rb") if plain.exists() else cast(BinaryIO, gzip.open(f"{plain}.gz"))

    def require(self, *paths: str) -> None:
        if absent := [path for path in paths if not self.exists(path)]:
            raise Missing("absent:", [(path, "vltk eval --data-status") for path in absent])
