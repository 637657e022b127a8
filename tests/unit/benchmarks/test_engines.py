"""The benchmark of engines: DeepSpeed's and the torch engine take turns at the same steps."""

from __future__ import annotations

import pytest

from benchmarks import engines
from tests.unit.benchmarks.toy import SIZE


def test_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(engines.SIZES, "tiny", SIZE)
    row = engines.measure("tiny", "text", 2, stage=0, rounds=1, threads=1)
    assert row["ratio"] == pytest.approx(row["seconds"]["zero"] / row["seconds"]["torch"])
    assert row["spread"] == [row["ratio"]] * 2 and row["cpu_ratio"] > 0
    assert min(row["peak_gib"].values()) > 0.1
    assert engines._line(row).startswith("| ZeRO-0 | ")
