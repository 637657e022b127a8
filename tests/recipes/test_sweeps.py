"""Every shipped sweep: no mistakes, and two steps of each stage of each variant at toy size."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.harness import DEBUG, ROOT, call, facts, rows
from vltk import pipeline
from vltk.recipe import sweeps
from vltk.sweep.load import load

SWEEPS = sorted(sweeps())
VARIANTS = [(name, variant) for name in SWEEPS for variant in load(name).variants]


def test_the_readme_names_them() -> None:
    line = (ROOT / "README.md").read_text(encoding="utf-8").partition("Sweeps: ")[2].partition("\n\n")[0]
    assert re.findall(r"`([\w-]+)`", line) == SWEEPS == ["blip-capfilt-tiny", "flava-ablations", "flava-flickr8k-start"]


@pytest.mark.parametrize("name", SWEEPS)
def test_it_has_no_mistakes(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """At full size, for which stand-in data would be too small."""
    monkeypatch.setenv("VLTK_DATA", str(tmp_path))
    assert call("recipe", "check", name) == 0
    assert "no mistakes; variants: " in capsys.readouterr().out


@pytest.mark.parametrize(("name", "variant"), VARIANTS)
def test_two_steps_of_each_variant(name: str, variant: str, home: object) -> None:
    recipe = load(name, [DEBUG]).recipe(variant, 0)
    pipeline.train(recipe)
    for stage in recipe.stages:
        assert facts(f"{name}/{variant}-0/{stage}")["status"] == "finished"
        assert [row["step"] for row in rows(f"{name}/{variant}-0/{stage}")] == [1, 2]
