"""A folder with a data set `web`, where runs are toys."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.capfilt import jobs


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VLTK_DATA", str(tmp_path / "data"))
    jobs.write_web(tmp_path / "data")
    jobs.install(monkeypatch)
    return tmp_path
