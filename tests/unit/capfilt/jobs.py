"""Jobs of a toy captioner and a toy filter on tiny data sets; and the same job in a process that can be killed."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import torch
import yaml

from tests.captioner import ToyCaptioner
from vltk.capfilt import job as jobs
from vltk.capfilt import models
from vltk.capfilt.job import Job
from vltk.data.dataset import open_dataset
from vltk.data.shard import Record, write_dataset

SIZE = 16  # pixels of an image's side
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"{a}{b}" for a in "bdfgklm" for b in "aeiou")]
PROMPT = (5, 6)  # ba be


class Words:
    """A tokenizer of whole words."""

    pad, unk, cls, sep = 0, 1, 2, 3
    size, special, digest = len(WORDS), np.arange(5), "words"

    def encode(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        ids = [WORDS.index(word) if word in WORDS else self.unk for word in text.split()][:30]
        return np.array([self.cls, *ids, self.sep]), np.zeros(len(ids) + 2)

    def decode(self, ids: Any) -> str:
        return " ".join(WORDS[int(token)] for token in ids)


class ToyModel(models.Model):
    """A run of the toy, by its name: `captioner` or `filter`."""

    weights = "1"  # what stands for the file of weights
    batches = 0  # images that were computed in this process

    def __init__(self, role: str, spec: str, job: Job) -> None:
        self.role, self.spec, self.job = role, spec, job
        self.source: Any = None
        self.stage: Any = SimpleNamespace(model=SimpleNamespace(prompt="ba be"), streams={}, init={"image": "x"})
        torch.manual_seed({"captioner": 1, "filter": 2}[role])
        toy = ToyCaptioner(len(WORDS) + 3, prompt=PROMPT).eval()
        trained = SimpleNamespace(model=toy, tokenizer=Words(), image=SimpleNamespace(size=SIZE), name=spec)
        self._trained: Any = trained
        self._require_verbs(toy)

    @property
    def facts(self) -> dict[str, Any]:  # type: ignore[override]
        return {"run": self.spec, "weights": type(self).weights}

    @contextmanager
    def computing(self) -> Any:
        type(self).batches += 1
        with super().computing() as model:
            yield model


def install(patch: Any) -> None:
    """Puts toys in the place of runs; `patch` as pytest's, or anything with `setattr`."""
    import vltk.capfilt.caption
    import vltk.capfilt.score

    for module in (models, vltk.capfilt.caption, vltk.capfilt.score):
        patch.setattr(module, "Model", ToyModel)
    patch.setattr(jobs, "absent", lambda job, roles=(): [])


def picture(number: int) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    return bytes(cv2.imencode(".png", pixels)[1])


def texts_of(number: int) -> list[str]:
    """None to two texts."""
    rng = np.random.default_rng(1000 + number)
    return [" ".join(WORDS[5 + word] for word in rng.integers(0, 35, 6)) for _ in range(number % 3)]


def records(count: int, first: int = 0) -> list[Record]:
    row = {"url": "http://a/b"}
    return [Record(f"s{n:03}", picture(n), texts_of(n), {"label": n}, row) for n in range(first, first + count)]


def write_web(root: Path, name: str = "web", count: int = 40, per_shard: int = 12) -> None:
    write_dataset(root / name, records(count), {"kind": "test"}, per_shard)


def recipe(folder: Path, **changes: Any) -> Path:
    """A recipe file of a job."""
    said: dict[str, Any] = {
        "kind": "capfilt",
        "name": "try",
        "captioner": "captioner",
        "filter": "filter",
        "data": {"web": {}},
        "output": "clean",
        "caption": {"min_length": 5, "max_length": 14, "samples": 2, "batch_size": 8, "top_p": 0.95},
        "score": {"batch_size": 8},
        "gates": {"unfinished": False, "max_run": None, "max_repeat": None},
    }
    path = folder / "try.yaml"
    path.write_text(yaml.safe_dump(said | changes))
    return path


def texts(job: Job, step: Any) -> list[tuple[Any, ...]]:
    """Key, number, source and text of every row that a step has written."""
    rows = [row for shard in job.shards for row in step.tables(job).read(shard.name)]
    return [(row["key"], row["number"], row.get("source"), row["text"]) for row in rows]


def column(job: Job, step: Any, name: str) -> np.ndarray:
    rows = [row for shard in job.shards for row in step.tables(job).read(shard.name)]
    return np.array([row[name] for row in rows if row["text"] is not None], float)


def samples(name: str) -> dict[str, Any]:
    dataset = open_dataset(name)
    return {sample.key: sample for sample in map(dataset.read, range(len(dataset)))}


def run_job(folder: str, data: str, path: str, pause: float, overrides: list[str], toys: bool) -> None:
    """All steps in a process of its own, with a pause behind each shard; with toys in the place of runs."""
    os.chdir(folder)
    os.environ["VLTK_DATA"] = data
    torch.set_num_threads(1)
    if toys:
        install(SimpleNamespace(setattr=setattr))
    from vltk.capfilt import steps, tables

    write = tables.Tables.write
    tables.Tables.write = lambda *given: (write(*given), time.sleep(pause))[0]  # type: ignore[method-assign]
    steps.run(jobs.load(path, overrides))


def process(
    folder: Path, data: Path, path: Path, pause: float = 0.0, overrides: list[str] | None = None, toys: bool = True
) -> Any:
    """The same, begun."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.unit.capfilt.jobs", "vltk.capfilt.steps", "vltk.caption.generate"])
    made = context.Process(target=run_job, args=(str(folder), str(data), str(path), pause, overrides or [], toys))
    made.start()
    return made


def wait_until(happened: Callable[[], bool], alive: Callable[[], bool], seconds: float = 60) -> None:
    limit = time.monotonic() + seconds
    while alive() and not happened():
        assert time.monotonic() < limit
        time.sleep(0.002)
