"""What `pip install .` brings: the wheel works away from the repository."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import vltk

ROOT = Path(vltk.__file__).parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the wheel holds."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)], cwd=ROOT, check=True)
    (wheel,) = folder.glob("vltk-*.whl")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(folder / "site")
    return folder / "site"


def test_it_holds_every_file_of_the_package_and_every_recipe(installed: Path) -> None:
    for source, target in ((ROOT / "vltk", "vltk"), (ROOT / "recipes", "vltk/_recipes")):
        files = {file.relative_to(source) for file in source.rglob("*") if file.is_file() and file.suffix != ".pyc"}
        assert {file for file in files if not (installed / target / file).is_file()} == set()


def test_a_recipe_runs_from_it_up_to_its_data(installed: Path, tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(installed)}
    environment.pop("VLTK_DATA", None)
    where = "import vltk; print(vltk.__file__)"
    command = [sys.executable, "-m", "vltk", "train", "flava-tiny"]
    found = subprocess.run([sys.executable, "-c", where], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert found.stdout.startswith(str(installed))
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ended.returncode == 3 and "vltk data fetch shapes" in ended.stderr, ended.stderr
    assert list(tmp_path.iterdir()) == []
