"""Which numbers of processes can share the batches of a recipe, and how fewer of them do so."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.toy import install
from tests.toy_recipes import SINGLE
from vltk.data.stream import slices_of
from vltk.errors import VltkError
from vltk.launch.elastic import _parts, fewer, misfits
from vltk.parts import names, root, schema
from vltk.recipe import Recipe, glance, load

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


def test_no_process_holds_more_than_before(recipe: Recipe, tmp_path: Path) -> None:
    """Neither where the recipe's own bound is above what a share was, nor of a smaller stream."""
    rest = "data: [a], objectives: {itc: {}}"
    streams = f"{{a: {{batch_size: 24, {rest}}}, b: {{batch_size: 8, {rest}}}}}"
    (tmp_path / "uneven.yaml").write_text(f"name: uneven\nmodel: flava\nsteps: 3\nstreams: {streams}\n")
    uneven = tmp_path / "uneven.yaml"
    assert fewer(glance(uneven), 8, 4) == (4, ["stages.train.micro_batch=1"])
    assert fewer(glance(uneven, ["micro_batch=24"]), 2, 1) == (1, ["stages.train.micro_batch=6"])
    assert fewer(glance(tmp_path / "two.yaml", ["stages.second.micro_batch=8"]), 4, 2)[1][1:] == [
        "stages.second.micro_batch=2"
    ]


def test_groups_stay_whole() -> None:
    """2400 samples in groups of 75: 24 processes would have 100 each."""
    blip = load("blip", ["micro_batch=null"])
    assert blip.stages["train"].streams["pairs"].group == 75
    assert fewer(blip, 32, 24) == (16, ["stages.train.micro_batch=75"])
    assert str(misfits(blip, 24)).endswith("24 processes in groups of 75; 16 or 32 processes would do")
    assert glance("blip").stages["train"].streams["pairs"].group == 1


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("micro_batch", [None, 1, 5, 7, 24, 40])
def test_parts_are_those_of_a_stream(world: int, micro_batch: int | None, recipe: Recipe) -> None:
    stream = recipe.stages["first"].streams["text"].model_copy(update={"batch_size": 24})
    assert _parts(stream, world, micro_batch) == {len(one) for one in slices_of(24, micro_batch, 0, world)}


@pytest.mark.parametrize("name", names("objectives"))
def test_groups_of_a_view_are_an_option_of_its_objective(name: str) -> None:
    """`Stream.group` reads the option `among`: what asks for a view that keeps samples together has to have it."""
    source = (root() / "objectives" / f"{name}.py").read_text(encoding="utf-8")
    assert ("peer_views(" in source) == ("among" in schema("objectives", name).model_fields)


def test_the_override_is_one_of_the_recipe(recipe: Recipe, tmp_path: Path) -> None:
    for path in (tmp_path / "two.yaml", tmp_path / "single.yaml"):
        found = glance(path)
        _, overrides = fewer(found, 2, 1)
        first = next(iter(glance(path, overrides).stages.values()))
        assert (
            first.micro_batch
            == next(iter(found.stages["first" if path.stem == "two" else "train"].streams.values())).batch_size // 2
        )
