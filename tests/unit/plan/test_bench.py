"""`vltk bench`: every stream of a stage is timed and counted, and a stage behind others needs none of them trained."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.harness import DEBUG, call
from vltk.plan import bench


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
    together = found["together"]
    assert 0 < together["of_the_step_alone"] < 5 and together["alone"] > 0
    assert 0 <= together["waited"] < together["seconds"]
    assert not Path("runs").exists()


def test_the_table_and_an_unknown_stage(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("bench", "clip-tiny", DEBUG, "--rounds", "1") == 0
    said = capsys.readouterr().out
    assert "clip-tiny, stage train" in said and "matrix products 1 TFLOP/s" in said and "behind the loader" in said
    assert call("bench", "clip-tiny", DEBUG, "--stage", "joint") == 1
    assert "--stage joint: the recipe clip-tiny has train" in capsys.readouterr().err
