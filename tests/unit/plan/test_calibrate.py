"""A calibration takes its steps twice and counts the second time; a whole training takes more memory than its steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import plan
from tests.unit.plan.test_plan_layouts import stage
from vltk.data import pixels
from vltk.data.image import decode
from vltk.plan import calibrate, host
from vltk.plan.calibrate import BESIDE, TIMED, WARM, Calibration, Run, steps_of
from vltk.recipe import load


def test_the_second_time_counts_and_decodes_as_the_first(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = load("clip-tiny", ["precision=fp32", "streams.pairs.batch_size=4", "loader.threads=1"])
    seen: list[tuple[int, Sequence[str]]] = []
    decoded: list[str] = []
    keep_decoded = calibrate.keep_decoded

    def step(setup: Any, number: int, stream: str, batches: Any) -> tuple[float, float]:
        seen.append((number, batches[0].keys))
        return float(len(seen)), 0.5

    monkeypatch.setattr(calibrate, "_step", step)

    def forget(*given: Any) -> None:
        decoded.clear()
        keep_decoded(*given)

    monkeypatch.setattr(calibrate, "keep_decoded", forget)
    monkeypatch.setattr(pixels, "decode", lambda data: decoded.append("") or decode(data))
    own = calibrate.short(recipe.stages["train"], few=True)
    run = steps_of(recipe, "train", own, home)
    count = WARM + TIMED + BESIDE
    assert len(seen) == 2 * count and seen[:count] == seen[count:]
    assert run.forward_backward == {"pairs": count + WARM + 1 + TIMED // 2} and run.end == {"pairs": 0.5}
    assert len(decoded) == len({key for _, keys in seen for key in keys}) and run.pixels > 0


def test_kernels_that_come_later_are_planned_where_there_are_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run({"pairs": 8}, {}, {}, peak=2**31, pixels=0)
    told = Calibration({}, {"train": run})
    texts = stage()
    silent = replace(texts, stage=texts.stage.model_copy(update={"tokenizer": None}))
    with_kernels = [host.beside([one], told)["train"] for one in (texts, silent)]
    monkeypatch.setattr(host, "KERNELS", 0)
    without = [host.beside([one], told)["train"] for one in (texts, silent)]
    assert [a - b for a, b in zip(with_kernels, without, strict=True)] == [2**27, 0]


def test_the_benchmark_counts_the_second_half_of_each_streams_steps() -> None:
    recipe: Any = load("clip-tiny", ["streams.pairs.batch_size=8"])
    recipe = replace(recipe, stages={"joint": recipe.stages["train"]})
    rows = [{"stream": "pairs", "samples_per_s": 8 / seconds} for seconds in (9.0, 9.0, 1.0, 3.0, 2.0)]
    assert plan.medians(rows, recipe) == {"pairs": 2.0}
