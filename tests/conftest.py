"""What many tests need: tiny data that stands in for all that the recipes name, and a folder to run in."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from vltk import launch

launch.before_torch()  # as the command line does, before a test imports torch

from tests import harness  # noqa: E402


@pytest.fixture(scope="session")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with everything that a shipped recipe reads, a few samples of each. Not to be changed."""
    root = tmp_path_factory.mktemp("data")
    harness.make_data(root)
    return root


@pytest.fixture
def home(tmp_path: Path, stand_ins: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, with VLTK_DATA at the stand-ins."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VLTK_DATA", str(stand_ins))
    return tmp_path


@pytest.fixture
def own_data(home: Path, stand_ins: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a copy of `shapes` below ./data that the test may damage."""
    shutil.copytree(stand_ins / "shapes", home / "data" / "shapes")
    monkeypatch.delenv("VLTK_DATA")
    return home / "data"
