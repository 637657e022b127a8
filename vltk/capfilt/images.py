"""The samples of a shard with their pixels, batch by batch; the next batch is decoded while this one is computed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vltk.capfilt.job import Shard
from vltk.data.image import BadImage, evaluation_image

if TYPE_CHECKING:
    from torch import Tensor

THREADS = min(8, os.cpu_count() or 1)  # decoding releases the GIL


@dataclass(frozen=True)
class Item:
    """A sample: `pixels` (3, S, S) uint8, or `error`, why they cannot be had."""

    key: str
    texts: list[str]
    pixels: np.ndarray | None = None
    error: str | None = None


def batches(shard: Shard, size: int, batch_size: int) -> Iterator[tuple[list[Item], Tensor | None]]:
    """All samples of the shard in order; images (b, 3, S, S) uint8 of those of a batch that can be read, if any can."""
    import torch

    positions = list(shard.positions)
    groups = [positions[first : first + batch_size] for first in range(0, len(positions), batch_size)]
    with ThreadPoolExecutor(THREADS) as pool:
        waiting: list[Future[Item]] = []
        for group in [*groups, []]:
            ready, waiting = waiting, [pool.submit(_item, shard, position, size) for position in group]
            if ready:
                items = [future.result() for future in ready]
                good = [item.pixels for item in items if item.pixels is not None]
                yield items, torch.from_numpy(np.stack(good)) if good else None


def _item(shard: Shard, position: int, size: int) -> Item:
    sample = shard.dataset.read(position)
    try:
        return Item(sample.key, sample.texts, evaluation_image(sample.image or b"", size))
    except BadImage as error:
        return Item(sample.key, sample.texts, error=str(error))
