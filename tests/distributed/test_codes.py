"""A tokenizer in training over two processes is that of one process: its losses, its table, its use of codes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests import tiny
from tests.processes import in_processes
from vltk import dist
from vltk.recipe import Optimizer
from vltk.train.accumulate import run_step
from vltk.train.engines.torch import Torch
from vltk.train.optim import groups
from vltk.train.recorder import Recorder

WORLD, STEPS, SIZE = 2, 5, 8


def train(micro_batches: int) -> dict[str, Any]:
    """The rows that are logged behind each step, and at the end the table and what decides its next moves."""
    pretraining = tiny.distilling(revive=1.0)
    images = [
        torch.randn(SIZE, 3, tiny.IMAGE, tiny.IMAGE, generator=torch.Generator().manual_seed(i)) for i in range(5)
    ]
    reached = pretraining.reached("all", {"image": images[0]})
    engine = Torch(pretraining, groups(pretraining, {"all": reached}), Optimizer(lr=2e-3), "fp32")
    recorder, rows = Recorder(), []
    for step in range(STEPS):
        mine = images[step].chunk(dist.world())[dist.rank()].chunk(micro_batches)
        record = run_step(engine, pretraining, "all", [{"image": part} for part in mine], step, seed=0)
        norm = engine.step(2e-3, "all")
        pretraining.after_step(engine, "all", step, record.kept)
        recorder.add(step, "all", record, SIZE, norm)
        if step != 2:  # the row behind it counts the codes of two steps
            rows += [{key: row[key] for key in ("losses", "metrics")} for row in recorder.rows(step + 1, 2e-3, 0.0)]
    whole = dist.gather(pretraining.model.codebook[None])
    assert all(torch.equal(whole[0], other) for other in whole)  # the same on every rank
    hits = pretraining.get_buffer("objectives.all.vqkd.hits")
    return {"rows": rows, "table": whole[0].tolist(), "hits": hits.tolist()}


def work() -> list[dict[str, Any]]:
    return [train(1), train(2)]


def test_two_processes_equal_one(tmp_path: Path) -> None:
    one = train(1)
    for shared in in_processes(WORLD, work, tmp_path):
        for found, wanted in zip(shared["rows"], one["rows"], strict=True):
            assert found["losses"] == pytest.approx(wanted["losses"], rel=1e-4)
            assert found["metrics"] == pytest.approx(wanted["metrics"], rel=1e-6)
        torch.testing.assert_close(torch.tensor(shared["table"]), torch.tensor(one["table"]), atol=1e-4, rtol=0)
        assert shared["hits"] == pytest.approx(one["hits"])
    assert all(row["metrics"]["codes_used"] + row["metrics"]["dead_codes"] == 16 for row in one["rows"])
