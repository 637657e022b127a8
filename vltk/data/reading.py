"""Which sample of which data set stands at each position of a stream: data sets together by size, or by weight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vltk.data.dataset import Dataset
from vltk.data.mixture import Shares
from vltk.data.order import Key, Order
from vltk.errors import VltkError

WHOLE = 32 * 2**30  # bytes of local data that are mixed as a whole where no window is given
WINDOW = 16  # shards that are mixed at a time otherwise


@dataclass(frozen=True, slots=True)
class Job:
    """The sample at a position of a stream: `epoch` and `index` are those of its data set."""

    position: int
    dataset: Dataset
    epoch: int
    index: int


class Reading:
    """The order of a stream's samples, a pure function of (data sets, weights, window, key).

    Without `weights` the data sets are one whole, each as large as it is; with them each has epochs of its own, and the
    next one begins where it is exhausted. `window`: shards that are mixed at a time; by default all, where the data is
    local and at most 32 GiB, else 16. Raises VltkError for a data set without samples, or a window that the cache
    cannot hold.
    """

    def __init__(
        self, datasets: Sequence[Dataset], weights: Sequence[float] | None, window: int | None, key: Key, stream: str
    ) -> None:
        for dataset in datasets:
            if not len(dataset):
                skips = " (its skip list names all of them)" if (dataset.folder / "skip.parquet").exists() else ""
                raise VltkError(f"stream {stream}: the data set {dataset.name!r} has no samples{skips}: leave it out")
        self.shares = Shares(weights) if weights is not None else None
        groups = [list(datasets)] if weights is None else [[dataset] for dataset in datasets]
        keys = [key] if weights is None else [(*key, dataset.name) for dataset in datasets]
        self.pools = [_Pool(group, window, key, stream) for group, key in zip(groups, keys, strict=True)]

    def jobs(self, positions: np.ndarray) -> list[Job]:
        """What to read for each of the positions, in their order."""
        if self.shares is None:
            return self.pools[0].jobs(positions, positions)
        sources, counts = self.shares.split(positions)
        jobs: dict[int, Job] = {}
        for source, pool in enumerate(self.pools):
            here = sources == source
            jobs |= {job.position: job for job in pool.jobs(positions[here], counts[here])}
        return [jobs[position] for position in positions.tolist()]


class _Pool:
    """Data sets that are permuted together."""

    def __init__(self, datasets: list[Dataset], window: int | None, key: Key, stream: str) -> None:
        self.datasets = datasets
        sizes = [_shard_sizes(dataset) for dataset in datasets]
        self.places = [
            (dataset, shard) for dataset, own in zip(datasets, sizes, strict=True) for shard in range(len(own))
        ]
        self.remote = any(_remote(dataset) for dataset in datasets)
        small = not self.remote and sum(sum(_shard_bytes(dataset)) for dataset in datasets) <= WHOLE
        self.order = Order([size for own in sizes for size in own], window or (None if small else WINDOW), key)
        self.starts = np.cumsum([0, *(len(dataset) for dataset in datasets)])
        if self.remote:
            self._check_cache(stream)

    def _check_cache(self, stream: str) -> None:
        """This window and the next one have to fit into the cache: else shards are fetched again and again."""
        sizes = sorted(
            (size for dataset in self.datasets if _remote(dataset) for size in _shard_bytes(dataset)), reverse=True
        )
        needed = sum(sizes[: 2 * self.order.window] if self.order.window else sizes)
        limit = next(dataset for dataset in self.datasets if _remote(dataset)).store.cache.limit
        if needed > limit:
            raise VltkError(
                f"stream {stream}: {needed / 2**30:.1f} GiB of remote shards are read at a time, and the cache holds "
                f"{limit / 2**30:.1f}: lower loader.window, or raise VLTK_CACHE_GB"
            )

    def jobs(self, positions: np.ndarray, own: np.ndarray) -> list[Job]:
        """`own`: the positions as this pool counts them."""
        if self.remote and len(own):
            self._fetch_ahead(int(own.max()))
        epochs, indices = self.order.locate(own)
        which = np.searchsorted(self.starts, indices, side="right") - 1
        places = zip(
            positions.tolist(), which.tolist(), epochs.tolist(), (indices - self.starts[which]).tolist(), strict=True
        )
        return [Job(position, self.datasets[number], epoch, index) for position, number, epoch, index in places]

    def _fetch_ahead(self, position: int) -> None:
        wanted: dict[int, list[int]] = {}
        for place in self.order.near(position):
            dataset, shard = self.places[place]
            wanted.setdefault(id(dataset), []).append(shard)
        for dataset in self.datasets:
            if _remote(dataset):
                dataset.store.fetch_ahead(wanted.get(id(dataset), []))


def _shard_sizes(dataset: Any) -> list[int]:
    """Samples of each shard; data that is not in tars counts as one."""
    sizes: list[int] = getattr(dataset, "shard_sizes", None) or [len(dataset)]
    return sizes


def _shard_bytes(dataset: Any) -> list[int]:
    return [entry.get("bytes", 0) for entry in getattr(dataset, "manifest", {}).get("shards", [])]


def _remote(dataset: Any) -> bool:
    return isinstance(dataset, Dataset) and dataset.store.remote
