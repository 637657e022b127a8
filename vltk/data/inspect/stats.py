"""What is in a data set: what became of the input rows, sizes, captions, languages and repeats, beside its card.

Rows are read in batches and only counted: memory grows with the number of hosts, and by 16 bytes a sample for repeats.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, cast

import numpy as np

from vltk.data import skip
from vltk.data.bar import Bar
from vltk.data.card import Card, card_names, load_card
from vltk.data.dataset import Dataset, open_dataset
from vltk.data.image import BadSample
from vltk.data.inspect.languages import languages
from vltk.data.inspect.spread import Spread
from vltk.data.members import Packed, Scattered
from vltk.data.shard import ABSENT
from vltk.errors import VltkError

HOST = r"^[A-Za-z][A-Za-z0-9+.-]*://(?:[^/?#]*@)?(?P<host>\[[^\]]*\]|[^/?#:]*)"
SIZES = ("width", "height", "original_width", "original_height", "bytes")
TOP = 20  # hosts that are told one by one


def stats(name: str, sample: int = 5000, seed: int = 0, card: Card | None = None) -> dict[str, Any]:
    """All figures of the data set `name` as plain JSON data; captions by `sample` samples drawn by `seed`.

    They stand beside what `card` expects (default: the shipped card that it was fetched by or has the name of).
    Raises Missing when it is not on disk, VltkError when a file is damaged or it is stored as tokens.
    """
    dataset = open_dataset(name, skips=False)
    if dataset.manifest.get("kind") == "tokens":
        raise VltkError(f"{name}: stored as tokens; stats, preview and dedup look at images and texts")
    table = _RowTable()
    files = sorted((dataset.folder / "rows").glob("*.parquet"))
    with Bar(f"rows of {name}", len(files)) as bar:
        for number, path in enumerate(files, 1):
            table.add(path)
            if bar.due():
                bar.show(number, f"{number:,} files")
    manifest = dataset.manifest
    texts, unusable = _texts(dataset, sample, seed)
    return {
        "name": name,
        **{key: manifest[key] for key in ("samples", "images", "texts")},
        "rows": sum(manifest["statuses"].values()),
        "statuses": manifest["statuses"],
        "yield": round(manifest["samples"] / max(sum(manifest["statuses"].values()), 1), 4),
        "expected": _expected(card or card_of(name, manifest)),
        "hosts": table.hosts(),
        "sizes": table.sizes() | {"stored_bytes": _stored(dataset)},
        "captions": _captions(texts, unusable),
        "languages": languages(text for group in texts for text in group),
        "repeats": {**table.repeats(), "skip_list": _skip_list(dataset.folder)},
    }


class _RowTable:
    """Counts over the rows files."""

    def __init__(self) -> None:
        self.by_host: Counter[tuple[str, str]] = Counter()
        self.spreads = {name: Spread(256 if name == "bytes" else 1) for name in SIZES}
        self.prints: dict[str, list[np.ndarray]] = {"sha256": [], "dhash": []}

    def add(self, path: Path) -> None:
        import pyarrow.parquet as pq

        with pq.ParquetFile(path) as file:
            wanted = [name for name in ("status", "url", "sha256", "dhash", *SIZES) if name in file.schema_arrow.names]
            for batch in file.iter_batches(columns=wanted):
                self._add(batch)

    def _add(self, batch: Any) -> None:
        import pyarrow.compute as pc

        if "url" in batch.schema.names:
            hosts = pc.utf8_lower(pc.struct_field(pc.extract_regex(batch["url"], HOST), "host"))
            pairs = zip(hosts.to_pylist(), batch["status"].to_pylist(), strict=True)
            self.by_host.update((host, status) for host, status in pairs if host)
        stored = batch.filter(pc.equal(batch["status"], "ok"))
        for name in set(SIZES) & set(batch.schema.names):
            self.spreads[name].add(stored[name].drop_null().to_numpy())
        if "sha256" in batch.schema.names:
            digests = stored["sha256"].drop_null().to_pylist()
            self.prints["sha256"].append(np.array([int(digest[:16], 16) for digest in digests], np.uint64))
        if "dhash" in batch.schema.names:
            self.prints["dhash"].append(stored["dhash"].drop_null().to_numpy())

    def hosts(self) -> dict[str, Any]:
        """How many there are, and those with most rows: rows, ok, and the failures by status."""
        statuses: dict[str, Counter[str]] = {}
        for (host, status), count in self.by_host.items():
            statuses.setdefault(host, Counter())[status] += count
        most = sorted(statuses, key=lambda host: (-statuses[host].total(), host))[:TOP]
        return {"number": len(statuses), "most": [_host(host, statuses[host]) for host in most]}

    def sizes(self) -> dict[str, Any]:
        return {name: spread.summary() for name, spread in self.spreads.items()}

    def repeats(self) -> dict[str, int | None]:
        """Samples whose original bytes, or whose difference hash, an earlier one has; None where rows lack these."""
        return {"exact": _repeated(self.prints["sha256"]), "same_hash": _repeated(self.prints["dhash"])}


def _host(host: str, statuses: Counter[str]) -> dict[str, Any]:
    failures = {status: count for status, count in statuses.most_common() if status != "ok"}
    rows = statuses.total()
    return {"host": host, "rows": rows, "ok": statuses["ok"], "yield": round(statuses["ok"] / rows, 4),
            "failures": failures}  # fmt: skip


def _repeated(parts: list[np.ndarray]) -> int | None:
    values = np.concatenate(parts) if parts else np.empty(0)
    return len(values) - len(np.unique(values)) if len(values) else None


def _stored(dataset: Dataset) -> dict[str, float] | None:
    """Bytes of the stored images."""
    spread = Spread(256)
    for shard in range(len(dataset.manifest["shards"])):
        sizes = cast(Packed | Scattered, dataset.store.index(shard)).rows["image"]
        spread.add(sizes[sizes != ABSENT])
    return spread.summary()


def drawn(dataset: Dataset, count: int, seed: int) -> list[int]:
    """Positions of `count` different samples (all, when there are no more), ascending."""
    if count >= len(dataset):
        return list(range(len(dataset)))
    rng = np.random.default_rng(seed)
    chosen: set[int] = set()
    while len(chosen) < count:
        chosen.update(rng.integers(0, len(dataset), count - len(chosen)).tolist())
    return sorted(chosen)


def _texts(dataset: Dataset, count: int, seed: int) -> tuple[list[list[str]], int]:
    """The texts of each sample drawn, and how many of these cannot be used."""
    found: list[list[str]] = []
    unusable = 0
    positions = drawn(dataset, count, seed)
    with Bar(f"texts of {dataset.name}", len(positions)) as bar:
        for number, position in enumerate(positions, 1):
            try:
                found.append(dataset.read(position).texts)
            except BadSample:
                unusable += 1
            if bar.due():
                bar.show(number, f"{number:,} samples")
    return found, unusable


def _captions(texts: list[list[str]], unusable: int) -> dict[str, Any]:
    spreads = {"words": Spread(), "characters": Spread(), "per_sample": Spread()}
    for one in texts:
        spreads["words"].add(np.array([len(text.split()) for text in one]))
        spreads["characters"].add(np.array([len(text) for text in one]))
    spreads["per_sample"].add(np.array([len(one) for one in texts]))
    found = {name: spread.summary() for name, spread in spreads.items()}
    return {"samples_looked_at": len(texts), "unusable": unusable, **found}


def card_of(name: str, manifest: dict[str, Any]) -> Card | None:
    """The shipped card of a data set: the one it was fetched by, or the one of its name."""
    names = [manifest["source"].get("card"), name.partition("/")[0]]
    return next((load_card(one) for one in names if one in card_names()), None)


def _expected(card: Card | None) -> dict[str, Any] | None:
    """What the card says about samples and yield."""
    if card is None:
        return None
    samples = card.samples.model_dump() if card.samples else None
    return {"card": card.name, "samples": samples, "yield": card.expected.model_dump() if card.expected else None}


def _skip_list(folder: Path) -> dict[str, int] | None:
    """Samples that streams leave out, by reason."""
    if not (folder / skip.FILE).exists():
        return None
    return dict(sorted(Counter(skip.read_table(folder)["reason"].to_pylist()).items()))
