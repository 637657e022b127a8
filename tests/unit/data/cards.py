"""Cards of the tests' own, fetched without a network."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from vltk.data.card import Archives, Card, Hub, Mirror
from vltk.data.dataset import open_dataset
from vltk.data.fetch.job import Switches
from vltk.data.fetch.options import FetchOptions
from vltk.data.fetch.sets import fetch_set

OPTIONS = FetchOptions.model_validate({"shard_size": 14, "short_side": 32})  # 7 samples a shard


def card(fetcher: dict[str, Any], name: str = "mine") -> Card:
    facts = {"name": name, "about": "x", "modality": "image_text", "licence": {"id": "x"}, "fetchers": [fetcher]}
    return Card.model_validate(facts)


def fetched(fetcher: dict[str, Any], options: FetchOptions = OPTIONS, **switches: bool) -> list[str]:
    whole = card(fetcher)
    found = whole.fetchers[0]
    assert isinstance(found, Mirror | Hub | Archives)
    return fetch_set(whole, "mine", found, options, Switches(**switches))


def statuses(root: Path, name: str = "mine") -> Counter[str]:
    rows = [row for path in sorted((root / name / "rows").iterdir()) for row in pq.read_table(path).to_pylist()]
    assert [row["row"] for row in rows] == list(range(len(rows)))
    counts = Counter(row["status"] for row in rows)
    assert dict(counts) == open_dataset(name).manifest["statuses"]
    return counts
