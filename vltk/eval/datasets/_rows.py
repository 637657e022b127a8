"""A split held in memory as rows; the images stay in their files until they are read."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from vltk.errors import Missing, VltkError
from vltk.eval.datasets._contract import Item, Labels
from vltk.eval.datasets._files import Files


@dataclass(frozen=True, slots=True)
class Row:
    """One sample; `image` is a path of the data set's files."""

    key: str
    image: str | None = None
    texts: tuple[str, ...] = ()
    label: int | float | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


class Rows:
    """The split `name` of `title`. `left_out`: rows of the file that were malformed, or have no label.

    Raises VltkError for a key that stands twice, Missing for images that are absent.
    """

    def __init__(self, title: str, name: str, files: Files, rows: Sequence[Row], left_out: int = 0) -> None:
        self.title, self.name, self.files, self.rows, self.left_out = title, name, files, rows, left_out
        self.keys = [row.key for row in rows]
        if len(set(self.keys)) < len(rows):
            twice = next(key for key in self.keys if self.keys.count(key) > 1)
            raise VltkError(f"{title} {name}: the sample {twice} stands there twice")
        require_images(files, f"{title} {name}", [row.image for row in rows if row.image is not None])
        self.labels = _labels(rows)
        self.rule: str | None = None  # the official files say which samples these are

    @cached_property
    def sha256(self) -> str:
        """Of the keys, each on a line of its own."""
        return hashlib.sha256("".join(f"{key}\n" for key in self.keys).encode()).hexdigest()

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, index: int) -> Item:
        """Raises VltkError that names the sample and the file where its image cannot be read."""
        row = self.rows[index]
        image = None if row.image is None else read_image(self.files, row.image, f"{self.title} {self.name} {row.key}")
        return Item(row.key, image, row.texts, row.label, row.facts)


def require_images(files: Files, title: str, paths: Sequence[str]) -> None:
    """Raises Missing with how many images are absent, and which one is the first."""
    wanted = dict.fromkeys(paths)
    if absent := [path for path in wanted if not files.exists(path)]:
        what = f"{len(absent):,} of {len(wanted):,} images, the first {absent[0]}, not there in {files.root}"
        raise Missing(f"{title} is not complete:", [(what, files.get)])


def read_image(files: Files, path: str, sample: str) -> bytes:
    """The encoded image. Raises VltkError with the sample where it is absent, damaged or empty."""
    try:
        data = files.read(path)
    except VltkError as error:
        raise VltkError(f"{sample}: {error}") from None
    if not data:
        raise VltkError(f"{sample}: {files.where(path)} is empty")
    return data


def _labels(rows: Sequence[Row]) -> Labels | None:
    labels = [row.label for row in rows]
    if not labels or None in labels:
        return None
    if any(isinstance(label, float) for label in labels):
        return np.array(labels, dtype=np.float64)
    return np.array(labels, dtype=np.int64)
