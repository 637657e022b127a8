"""The images of a split by number: files, arrays of pixels, and parts and sums of these."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from vltk.errors import VltkError
from vltk.eval.datasets._contract import Files, Pixels


class Images(Protocol):
    """`images[n]` is encoded bytes, or pixels (H, W, 3) uint8. Safe to read from many threads."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> bytes | Pixels: ...


class Encoded:
    """Image files, read as they are."""

    def __init__(self, files: Files, paths: Sequence[str]) -> None:
        self._files, self.paths = files, paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> bytes:
        data = self._files.read(self.paths[index])
        if not data:
            raise VltkError(f"{self.paths[index]} is empty: bring it again")
        return data


class Raw:
    """An array, or what is indexed like one, of (N, H, W, 3) colours or (N, H, W) greys, uint8."""

    def __init__(self, pixels: Any) -> None:
        self._pixels = pixels

    def __len__(self) -> int:
        return len(self._pixels)

    def __getitem__(self, index: int) -> Pixels:
        image = np.asarray(self._pixels[index])
        colours = np.repeat(image[:, :, None], 3, axis=2) if image.ndim == 2 else image
        return np.ascontiguousarray(colours)


class Rows:
    """Some of other images."""

    def __init__(self, images: Images, rows: Sequence[int]) -> None:
        self._images, self._rows = images, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> bytes | Pixels:
        return self._images[self._rows[index]]


class Both:
    """Images, and others after them."""

    def __init__(self, first: Images, second: Images) -> None:
        self._first, self._second = first, second

    def __len__(self) -> int:
        return len(self._first) + len(self._second)

    def __getitem__(self, index: int) -> bytes | Pixels:
        behind = index - len(self._first)
        return self._first[index] if behind < 0 else self._second[behind]
