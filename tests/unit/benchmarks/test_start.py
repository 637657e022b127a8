"""The benchmark of starting: it ends with the first step, and a run that has none says why."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import start
from vltk.errors import VltkError
from vltk.recipe_files import locate


def test_until_the_first_step(home: Path) -> None:
    assert 0 < start._first_step(locate("clip-tiny")) < 120
    assert not Path("runs").exists()


def test_a_recipe_of_this_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is started in another one."""
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text("")
    paths: list[Path] = []
    monkeypatch.setattr(start, "_imports", lambda: 1.0)
    monkeypatch.setattr(start, "_first_step", lambda path: paths.append(path) or float(len(paths)))
    assert start.measure("mine.yaml", 2) == {"torch": [1.0, 1.0], "first step": [2.0, 3.0]}
    assert paths == [tmp_path / "mine.yaml"] * 3


def test_a_run_without_a_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLTK_DATA", str(tmp_path / "nothing"))
    with pytest.raises(VltkError, match=r"(?s)ended without a step\n.*vltk data fetch shapes"):
        start._first_step(locate("clip-tiny"))


def test_the_table() -> None:
    rows = start.table("x", {"torch": [2.0, 1.0, 4.0], "first step": [5.0, 7.0, 6.0]}).splitlines()[2:]
    assert rows == ["| import torch | 2.00 | 1.00 | 4.00 |", "| vltk train x, first step done | 6.00 | 5.00 | 7.00 |"]
