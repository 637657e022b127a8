"""Calibration times our recipe with the vltk that is imported here, and gives each stream its share of the steps."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import vltk
from benchmarks.peers import calibration
from tests.unit.benchmarks.toy import RECIPE
from vltk.errors import VltkError
from vltk.recipe import load


def _stage(**weights: float) -> Any:
    return SimpleNamespace(steps=100, streams={name: SimpleNamespace(weight=w) for name, w in weights.items()})


def _lines(*steps: tuple[str, float]) -> list[dict[str, Any]]:
    return [{"stream": stream, "seconds": seconds} for stream, seconds in steps]


def test_each_stream_counts_by_its_share_of_the_steps() -> None:
    lines = _lines(("a", 9.0), ("b", 10.0), ("a", 10.2), ("b", 13.2), ("a", 13.6))  # the first step is not counted
    assert calibration.stage_seconds(_stage(a=3, b=1), lines) == pytest.approx(75 * 0.3 + 25 * 2.0)


def test_a_stream_without_a_step_is_named() -> None:
    with pytest.raises(VltkError, match="no step of b was timed"):
        calibration.stage_seconds(_stage(a=3, b=1), _lines(("a", 1.0), ("a", 2.0)))


def test_a_recipe_is_timed_by_the_vltk_imported_here(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[list[str], dict[str, Any]]] = []
    run = subprocess.run

    def spy(command: list[str], **options: Any) -> Any:
        seen.append((command, options))
        return run(command, **options)

    monkeypatch.setattr(subprocess, "run", spy)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    (home / "toy.yaml").write_text(RECIPE)
    assert 0 < calibration.recipe_minutes(load("toy.yaml"), steps=3) < 1
    ((command, options),) = seen
    assert command[:4] == [sys.executable, "-P", "-m", "vltk"]
    asked = [sys.executable, "-P", "-c", "import vltk; print(vltk.__file__)"]
    found = run(asked, env=options["env"], cwd=home, capture_output=True, text=True, check=True)
    assert Path(found.stdout.strip()) == Path(vltk.__file__).resolve()
    assert not (home / "runs").exists()


def test_what_pythonpath_had_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "mine")
    assert calibration._imports().split(os.pathsep)[1:] == ["mine"]


def test_a_recipe_that_fails_is_one_message(home: Path) -> None:
    (home / "toy.yaml").write_text(RECIPE)
    recipe = load("toy.yaml")
    (home / "toy.yaml").write_text("steps: none\n")
    with pytest.raises(VltkError, match="toy.yaml .*: ended with 2"):
        calibration.recipe_minutes(recipe, steps=3)


def test_peers_and_recipe_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    trainers: Any = {name: SimpleNamespace(step=lambda _, name=name: steps.append(name)) for name in ("a", "b")}
    monkeypatch.setattr(calibration, "load", lambda name: name)
    monkeypatch.setattr(calibration, "recipe_minutes", lambda recipe, count: float(len(steps)))
    pace, minutes = calibration.calibrate(trainers, "toy", steps=2, rounds=3)
    assert "".join(steps) == "ab" + 3 * "aabb"
    assert set(pace) == {"a", "b"} and minutes == 10.0  # the median of 6, 10 and 14
    assert calibration.calibrate(trainers, None, steps=1, rounds=1)[1] is None
