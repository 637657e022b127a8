"""`vltk bench`: every stream of a stage is timed and counted, and a stage behind others needs none of them trained."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.harness import DEBUG, call
from vltk.data import pixels
from vltk.data.image import decode
from vltk.plan import bench
from vltk.recipe import load


@pytest.fixture(autouse=True)
def ceilings(monkeypatch: pytest.MonkeyPatch) -> None:
    """As measuring them takes seconds on one thread."""
    monkeypatch.setattr(bench, "products", lambda device, dtype: 1e12)
    monkeypatch.setattr(bench, "copying", lambda device: 1e10)


def test_every_stream_of_a_stage(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("bench", "flava-tiny", DEBUG, "--rounds", "2", "--json") == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert not said.err, "a warning about what is thrown away"
    assert found["stage"] == "joint" and set(found["streams"]) == {"contrast", "pairs", "text", "image"}
    for pace in found["streams"].values():
        assert pace["samples_per_s"] == pytest.approx(pace["samples"] / pace["step"])
        assert pace["mfu"] == pytest.approx(pace["flops"] / pace["step"] / 1e12) and pace["loading"] > 0
    assert found["streams"]["pairs"]["flops"] > found["streams"]["contrast"]["flops"] > 0
    for together in (found["together"]["decoding"], found["together"]["kept"]):
        assert 0 < together["of_the_step_alone"] < 5 and together["alone"] > 0
        assert 0 <= together["waited"] < together["seconds"]
    assert not Path("runs").exists()


def test_pictures_are_decoded_in_one_half_and_kept_in_the_other(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decodes: list[int] = []
    seen: list[int] = []
    turns = bench._turns

    def counted(*given: Any) -> Any:
        before = len(decodes)
        made = turns(*given)
        seen.append(len(decodes) - before)
        return made

    monkeypatch.setattr(bench, "_turns", counted)
    monkeypatch.setattr(pixels, "decode", lambda data: decodes.append(1) or decode(data))
    assert call("bench", "clip-tiny", DEBUG, "--rounds", "1") == 0
    batch = load("clip-tiny", [DEBUG]).stages["train"].streams["pairs"].batch_size
    assert seen[0] >= bench.TURNS * bench.LEAST * batch and seen[1] == 0


def test_the_table_and_an_unknown_stage(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("bench", "clip-tiny", DEBUG, "--rounds", "1") == 0
    said = capsys.readouterr().out
    assert (
        "clip-tiny, stage train" in said
        and "matrix products 1 TFLOP/s" in said
        and "kept decoded" in " ".join(said.split())
    )
    assert call("bench", "clip-tiny", DEBUG, "--stage", "joint") == 1
    assert "--stage joint: the recipe clip-tiny has train" in capsys.readouterr().err


@pytest.mark.parametrize("steps", [2, 8])
def test_a_batch_is_made_for_each_step_behind_the_loader(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    """Of a loader that need not go on, no batch or few would be made beside the steps that are timed."""
    seen: list[str] = []
    stream = SimpleNamespace(micro_batches=lambda number: seen.append("made") or [])
    stage = SimpleNamespace(streams={"a": SimpleNamespace(weight=1.0)}, seed=0, loader=SimpleNamespace(prefetch=4))
    setup: Any = SimpleNamespace(stage=stage, loader=SimpleNamespace(streams={"a": stream}))

    def step(*given: Any) -> float:
        time.sleep(0.02)
        seen.append("stepped")
        return 0.02

    monkeypatch.setattr(bench, "timed_step", step)
    monkeypatch.setattr(bench, "TURNS", 1)
    (turn,) = bench._turns(setup, {"a": []}, steps)
    assert turn.alone == pytest.approx(0.02 * steps) and turn.seconds >= 0.02 * steps
    stepped = [place for place, what in enumerate(seen) if what == "stepped"]
    assert len(stepped) == steps + bench.WARM + steps
    assert seen[stepped[steps + bench.WARM - 1] : stepped[-1]].count("made") >= steps - 1
