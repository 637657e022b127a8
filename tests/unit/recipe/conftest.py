"""A working folder with the toy recipes in it, and no others."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import toy
from tests.toy_recipes import FILES, Write
from vltk import recipe_files


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes a recipe below the working folder, which holds the recipes above; none are shipped."""
    toy.install(tmp_path / "package", monkeypatch)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(recipe_files, "shipped", lambda: tmp_path / "shipped")

    def put(name: str, text: str) -> Path:
        path = Path("recipes") / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    for name, text in FILES.items():
        put(name, text)
    return put
