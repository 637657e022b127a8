"""The probe benchmark at a small size: both solvers agree, and the clock of one does not run for the other."""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import pytest

from benchmarks import probe


def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    small = ["--samples", "600", "--test", "200", "--width", "24", "--classes", "3", "--lambdas", "1e3,10,1"]
    monkeypatch.setattr(sys, "argv", ["probe", *small, *more])
    probe.main()
    return capsys.readouterr().out


def test_both_solvers_find_one_optimum(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    found: dict[str, Any] = json.loads(run(monkeypatch, capsys, "--json").splitlines()[-1])
    assert [row["penalty"] for row in found["by_penalty"]] == [1, 10, 1000]
    assert all(abs(row["above_ours"]) < 1e-2 for row in found["by_penalty"])
    assert abs(found["optimum"]["ours_above"]) < 1e-4 and abs(found["accuracy_difference"]) <= 1
    assert len(found["seconds"]["ours"]) == 3 and found["conditions"]["train"] == 480
    assert found["accuracy"]["ours"] > 80 and found["adamw"]["accuracy"] > 70


def test_the_table_of_given_features(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Any
) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 300)
    np.save(tmp_path / "x.npy", (np.eye(3)[labels] + rng.normal(0, 0.5, (300, 3))).astype(np.float16))
    np.save(tmp_path / "y.npy", labels)
    given = ["--features", str(tmp_path / "x.npy"), "--labels", str(tmp_path / "y.npy"), "--test", "100"]
    table = run(monkeypatch, capsys, "--no-adamw", *given)
    assert "times faster" in table and "optimum at" in table and "'train': 160" in table and "AdamW" not in table
