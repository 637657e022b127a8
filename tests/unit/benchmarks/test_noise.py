"""Deranged captions, and what is estimated of them by a filter whose scores are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import noise
from tests.unit.capfilt import jobs
from vltk.capfilt import job as capfilt
from vltk.capfilt import score
from vltk.data.dataset import open_dataset
from vltk.data.shard import Record, write_dataset


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VLTK_DATA", str(tmp_path / "data"))
    records = [Record(f"s{n:03}", jobs.picture(n), [f"one {n}", f"two {n}"], {"label": n}) for n in range(200)]
    write_dataset(tmp_path / "data" / "clean", records, {"kind": "test"}, 64)
    return tmp_path


def test_deranged(place: Path) -> None:
    before = [open_dataset("clean").read(n) for n in range(200)]
    after = list(noise.deranged("clean", 0.3, 1))
    changed = [own.texts != other.texts for own, other in zip(before, after, strict=True)]
    assert changed == [record.meta["noisy"] for record in after] and sum(changed) == 60
    assert all(
        own.image == other.image and other.meta["label"] == n
        for n, (own, other) in enumerate(zip(before, after, strict=True))
    )
    assert sorted(text for record in after for text in record.texts) == sorted(t for one in before for t in one.texts)
    assert [record.texts for record in noise.deranged("clean", 0.3, 2)] != [record.texts for record in after]


def test_found(place: Path) -> None:
    """A filter that rejects 80 % of the noise and 10 % of the rest: the estimate is the share that was made."""
    rng = np.random.default_rng(0)
    for name, share in (("train", 0.4), ("dev", 0.5)):
        write_dataset(place / "data" / name, noise.deranged("clean", share, 0), {"kind": "noisy"}, 64)
    job = capfilt.load(jobs.recipe(place, data={"train": {}, "dev": {}}))
    for shard in job.shards:
        rows: list[dict[str, Any]] = []
        for position in shard.positions:
            sample = shard.dataset.read(position)
            low = 0.8 if sample.meta["noisy"] else 0.1
            scores = [0.2 * rng.random() + (0.3 if rng.random() < low else 0.6) for _ in sample.texts]
            rows += [
                {"key": sample.key, "number": n, "source": "web", "text": "x", "itm": s, "itc": 2 * s - 1}
                for n, s in enumerate(scores)
            ]
        score.tables(job).write(shard.name, rows, {})
    path = str(place / "try.yaml")
    dev, train = sorted(noise.found(path, [], "dev", 0.55, "itm"), key=lambda row: str(row["data"]))
    assert (train["texts"], train["noise"]) == (400, pytest.approx(40)) and "estimate" not in dev
    assert train["rejected"] == pytest.approx(40 * 0.8 + 60 * 0.1, abs=4)
    assert train["estimate"] == pytest.approx(40, abs=5) and train["low"] < 40 < train["high"]
    assert 80 < train["auroc"] < 98 and 75 < train["f1"] < 90
    by_cosine = {row["data"]: row for row in noise.found(path, [], "dev", 0.1, "itc")}
    assert by_cosine == {"train": train, "dev": dev}


def test_a_part_of_the_images(place: Path) -> None:
    """Captions pass round among these alone."""
    part = list(noise.deranged("clean", 0.5, 0, 1, slice(20, 60)))
    own = list(noise.deranged("clean", 0, 0, 1))[20:60]
    assert [record.key for record in part] == [record.key for record in own]
    assert all(len(record.texts) == 1 for record in part) and sum(record.meta["noisy"] for record in part) == 20
    assert sorted(record.texts for record in part) == sorted(record.texts for record in own)
