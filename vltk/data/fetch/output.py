"""The folder that img2dataset writes into: which pieces are whole, what is half-written, whether anything moves."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from vltk import log
from vltk.data.fetch.piece import Piece, Unsound, check, packed

OURS = re.compile(r"(\d+)(\.tar|\.parquet|_stats\.json)")  # files of one piece


class Output:
    """`sizes` are the rows of each piece that there must be; `done` the pieces that were given out, or packed before.

    Those that were packed are out of the way: a look costs what is open, however much is done.
    """

    def __init__(self, folder: Path, sizes: list[int]) -> None:
        self.folder, self.sizes = folder, sizes
        self.done = packed(folder)

    @property
    def complete(self) -> bool:
        return len(self.done) == len(self.sizes)

    def finished(self) -> Iterator[Piece]:
        """Whole pieces that are new. Unsound ones go."""
        for stats in sorted(self.folder.glob("*_stats.json")):
            number = int(stats.name.partition("_")[0])
            if number in self.done:
                continue
            piece = Piece(number, stats.with_name(f"{number:05d}.tar"), stats.with_name(f"{number:05d}.parquet"))
            with suppress(ValueError):  # stats that are being written
                if self._is_sound(piece):
                    yield piece
                    self.done.add(number)

    def _is_sound(self, piece: Piece) -> bool:
        try:
            check(piece, self.sizes[piece.number])
        except Unsound as problem:
            log.warn(f"piece {piece.number} is fetched again: {problem}")
            self._drop({piece.number})
            return False
        return True

    def clean(self) -> None:
        """Drops what a killed run left: half-written pieces, packed ones, and img2dataset's working folder."""
        shutil.rmtree(self.folder / "_tmp", ignore_errors=True)
        self._drop(set(range(len(self.sizes))) - (self.done - packed(self.folder)))

    def _drop(self, numbers: set[int]) -> None:
        for entry in list(self.folder.iterdir()):
            named = OURS.fullmatch(entry.name)
            if named and int(named[1]) in numbers:
                entry.unlink(missing_ok=True)  # one that is packed meanwhile goes by itself

    def signs(self) -> tuple[int, int]:
        """Changes with every piece begun or ended, every image stored and every line of the proxy's log.

        The child's own words do not count: a worker that fails at its start is started, and complains, for ever.
        """
        sizes = []
        for entry in self.folder.iterdir():
            with suppress(FileNotFoundError):
                if entry.suffix in (".tar", ".json", ".jsonl"):
                    sizes.append(entry.stat().st_size)
        return len(sizes), sum(sizes)
