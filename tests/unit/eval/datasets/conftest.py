"""Each vision data set written once a session; tests that damage one take a copy."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.official.vision import WRITERS
from vltk.eval.datasets._files import Files
from vltk.parts import choose


@dataclass(frozen=True)
class Written:
    name: str
    root: Path
    truth: dict[str, int]

    def loader(self, files: Any = None, nonstandard: bool = True, **options: Any) -> Any:
        part = choose("eval/datasets", self.name, nonstandard=nonstandard, **options)
        return part.build(files=Files(self.root) if files is None else files)


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Written]:
    """A data set by name, not to be changed."""
    made: dict[str, Written] = {}

    def make(name: str) -> Written:
        if name == "pcam":
            pytest.importorskip("h5py", reason="PatchCamelyon is read by h5py: pip install 'vltk[eval]'")
        if name not in made:
            root = tmp_path_factory.mktemp(name)
            made[name] = Written(name, root, WRITERS[name](root))
        return made[name]

    return make


@pytest.fixture
def own(written: Callable[[str], Written], tmp_path: Path) -> Callable[[str], Written]:
    """A copy of a data set that the test may damage."""

    def copy(name: str) -> Written:
        whole = written(name)
        shutil.copytree(whole.root, tmp_path / name)
        return Written(name, tmp_path / name, whole.truth)

    return copy


def module(name: str) -> Any:
    return importlib.import_module(f"vltk.eval.datasets.{name}")
