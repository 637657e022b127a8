"""Which numbers of processes can share the batches of a recipe, and how fewer of them do so."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.toy import install
from tests.toy_recipes import SINGLE
from vltk.errors import VltkError
from vltk.launch.elastic import fewer, misfits
from vltk.recipe import Recipe, glance

TWO = """\
name: two
model: flava
steps: 3
stages:
  first: {streams: {text: {data: [a], batch_size: 12, objectives: {itc: {}}}}}
  second: {streams: {pairs: {data: [a], batch_size: 8, objectives: {itc: {}}}}, micro_batch: 2}
"""


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    install(tmp_path, monkeypatch)
    (tmp_path / "two.yaml").write_text(TWO)
    (tmp_path / "single.yaml").write_text(SINGLE)
    return glance(tmp_path / "two.yaml")


def test_misfits(recipe: Recipe) -> None:
    assert misfits(recipe, 4) is None and misfits(recipe, 1) is None
    assert str(misfits(recipe, 3)).endswith(
        "two.yaml:6: streams.pairs.batch_size: 8 cannot be shared equally by 3 processes; 2 or 4 processes would do"
    )
    said = misfits(recipe, 5)
    assert said is not None and len(said.problems) == 2 and said.problems[0].endswith("; 4 processes would do")


def test_fewer(recipe: Recipe) -> None:
    """The global batch stays; where the recipe does not bound a forward, what it held before does."""
    assert fewer(recipe, 4, 4) == (4, [])
    assert fewer(recipe, 4, 3) == (2, ["stages.first.micro_batch=3"])
    assert fewer(recipe, 4, 1) == (1, ["stages.first.micro_batch=3"])
    with pytest.raises(VltkError, match="no process is left"):
        fewer(recipe, 4, 0)


def test_the_override_is_one_of_the_recipe(recipe: Recipe, tmp_path: Path) -> None:
    for path in (tmp_path / "two.yaml", tmp_path / "single.yaml"):
        found = glance(path)
        _, overrides = fewer(found, 2, 1)
        first = next(iter(glance(path, overrides).stages.values()))
        assert (
            first.micro_batch
            == next(iter(found.stages["first" if path.stem == "two" else "train"].streams.values())).batch_size // 2
        )
