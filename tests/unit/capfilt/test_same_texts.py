"""Two real BLIPs on 200 images: batches, processes and a kill change no text, and no score beyond rounding."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.unit.capfilt import jobs
from tests.unit.capfilt.jobs import column, recipe, samples, texts
from tests.unit.capfilt.test_published import CAPTIONS, RETRIEVAL, published
from vltk.capfilt import caption, score, select, steps
from vltk.capfilt.job import Job, load
from vltk.data.shard import write_dataset
from vltk.data.sources import shapes

IMAGES, PER_SHARD = 200, 40
BATCHES = ("caption.batch_size=64", "score.batch_size=64")


@pytest.fixture
def place(own_data: Path) -> Path:
    """200 scenes, a captioner and a filter at random weights, as transformers saves them."""
    torch.set_num_threads(1)
    words = (own_data / "shapes" / "vocab.txt").read_text(encoding="utf-8").splitlines()
    published(CAPTIONS, own_data.parent / "writer", words)
    published(RETRIEVAL, own_data.parent / "judge", words)
    write_dataset(own_data / "web", shapes.records(0, "train", IMAGES), {"kind": "test"}, PER_SHARD)
    return own_data.parent


def told(place: Path) -> Path:
    return recipe(place, captioner="writer", filter="judge")


def made(place: Path, name: str, *overrides: str) -> Job:
    job = load(told(place), [f"name={name}", f"output={name}", *BATCHES, *overrides])
    steps.run(job)
    return job


def begun(place: Path, name: str, pause: float) -> Any:
    """The same job in a process of its own."""
    said = [f"name={name}", f"output={name}", *BATCHES]
    return jobs.process(place, place / "data", told(place), pause, said, toys=False)


def assert_same(one: Job, other: Job) -> None:
    written = texts(one, caption)
    assert len(written) == 2 * IMAGES and len({text for *_, text in written}) > IMAGES  # they do differ
    for step in (caption, score, select):
        assert texts(one, step) == texts(other, step)
    for name in ("itm", "itc"):
        values = column(one, score, name)
        assert len(np.unique(values)) > IMAGES and np.abs(values - column(other, score, name)).max() < 1e-5, name
    kept = [[sample.texts for sample in samples(job.options.output).values()] for job in (one, other)]
    assert kept[0] == kept[1] and len(kept[0]) > 0


@pytest.mark.parametrize("method", ["beam", pytest.param("nucleus", marks=pytest.mark.slow)])
def test_batches_of_one_and_of_64(place: Path, method: str) -> None:
    said = (f"caption.method={method}",)
    whole = made(place, "whole", *said)
    assert_same(whole, made(place, "single", *said, "caption.batch_size=1", "score.batch_size=1"))


@pytest.mark.slow
def test_two_processes(place: Path) -> None:
    both = [begun(place, "both", 0.3) for _ in range(2)]
    for one in both:
        one.join(100)
        assert one.exitcode == 0
    whole = made(place, "whole")
    assert_same(whole, load(told(place), ["name=both", "output=both"]))


@pytest.mark.slow
@pytest.mark.parametrize("step", ["captions", "scores"])
def test_killed_and_resumed(place: Path, step: str) -> None:
    first = begun(place, "killed", 0.3)
    folder = place / "runs" / "killed" / step
    jobs.wait_until(lambda: len(list(folder.rglob("*.parquet"))) >= 2, first.is_alive)
    first.kill()
    first.join()
    assert first.exitcode == -signal.SIGKILL and not (place / "data" / "killed" / "manifest.json").exists()
    stood = {path: path.stat().st_mtime_ns for path in (place / "runs" / "killed").rglob("*.parquet")}
    resumed = made(place, "killed")
    assert all(path.stat().st_mtime_ns == before for path, before in stood.items())
    assert_same(made(place, "whole"), resumed)
