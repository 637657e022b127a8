"""A run whose data changed: refused with the key to type, continued with it; weights and window are part of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vltk.errors import RecipeError
from vltk.identity import identity
from vltk.pipeline import _status
from vltk.recipe import Stage, load
from vltk.run import RunFolder


def stage(*overrides: str) -> Stage:
    return load("clip-tiny", overrides).stages["train"]


def begun(path: Path, facts: dict[str, Any], status: str = "stopped") -> RunFolder:
    path.mkdir()
    folder = RunFolder(path)
    folder.note(identity=facts, status=status)
    return folder


def facts(of: Stage, **data: str) -> dict[str, Any]:
    return identity(of, data, {})


def test_changed_data_is_refused_or_taken(tmp_path: Path) -> None:
    folder = begun(tmp_path / "run", facts(stage(), cc3m="1"))
    now = facts(stage(), cc3m="2")
    with pytest.raises(
        RecipeError, match=r"made from other data:\n  data.cc3m: was 1, is 2\n.*loader.data_change=true"
    ):
        _status(folder, now, False, stage())
    assert _status(folder, now, False, stage("loader.data_change=true")) == "begun"
    assert _status(folder, facts(stage(), cc3m="1"), False, stage()) == "begun"


def test_what_data_change_does_not_cover(tmp_path: Path) -> None:
    """Another recipe, another vocabulary, a run that is finished."""
    free = stage("loader.data_change=true")
    vocab = {"shapes/vocab.txt": "1"}
    folder = begun(tmp_path / "run", facts(free, cc3m="1", **vocab))
    other = stage("loader.data_change=true", "optimizer.lr=2e-3")
    for changed in (facts(other, cc3m="2", **vocab), facts(free, cc3m="1", **{"shapes/vocab.txt": "2"})):
        with pytest.raises(RecipeError, match="made by another recipe"):
            _status(folder, changed, False, free)
    done = begun(tmp_path / "done", facts(free, cc3m="1"), "finished")
    with pytest.raises(RecipeError, match="made by another recipe"):
        _status(done, facts(free, cc3m="2"), False, free)


def test_weights_and_window_are_part_of_a_run(tmp_path: Path) -> None:
    weighted = stage("streams.pairs.data={a: 2, b: 1}")
    assert weighted.streams["pairs"].data == {"a": 2.0, "b": 1.0}
    folder = begun(tmp_path / "run", facts(weighted))
    with pytest.raises(RecipeError, match=r"streams.pairs.data.a: was 2.0, is 3.0"):
        _status(folder, facts(stage("streams.pairs.data={a: 3, b: 1}")), False, weighted)
    with pytest.raises(RecipeError, match=r"loader.*window"):
        _status(folder, facts(stage("streams.pairs.data={a: 2, b: 1}", "loader.window=4")), False, weighted)
    assert (
        _status(folder, facts(stage("streams.pairs.data={a: 2, b: 1}", "loader.threads=7")), False, weighted) == "begun"
    )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("{a: 0}", "streams.pairs.data.*greater than 0"),
        ("{a: much}", "streams.pairs.data.*number"),
        ("{}", "streams.pairs.data.*at least 1"),
        ("[]", "streams.pairs.data.*at least 1"),
    ],
)
def test_wrong_sources(given: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        stage(f"streams.pairs.data={given}")
