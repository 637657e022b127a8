"""Recipes: shown with the origin of each value, read back from a run folder, and the data they lack."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from vltk import needs
from vltk.errors import Missing
from vltk.recipe import available, describe, glance, is_whole, load, load_resolved, plain


@pytest.mark.usefixtures("write")
class TestShowing:
    def test_each_value_with_its_origin(self) -> None:
        lines = {line.split("#")[0].strip(): line.partition("# ")[2] for line in describe(load("flava", ["steps=7"]))}
        assert lines["steps: 7"] == "command line 'steps=7'"
        assert lines["lr: 0.01"] == "recipes/flava.yaml:5"
        assert lines["warmup: 10"] == "recipes/base.yaml:1"
        assert lines["ratio: 0.3"] == "recipes/codes.yaml:2"
        assert lines["eps: 1.0e-08"] == "default"

    def test_what_is_shown_is_a_recipe(self) -> None:
        recipe = load("flava", ["optimizer.lr=1e-5"])
        Path("shown.yaml").write_text("\n".join(describe(recipe)))
        assert load("shown.yaml").stages == recipe.stages
        assert load("shown.yaml").name == "flava"

    def test_a_run_folder_gives_its_stage_back(self) -> None:
        stage = load("flava").stages["joint"]
        Path("recipe.yaml").write_text(yaml.safe_dump(plain(stage), sort_keys=False))
        assert load_resolved(Path("recipe.yaml")) == stage

    def test_files_to_include_are_no_recipes(self) -> None:
        assert {name: is_whole(path) for name, path in available().items()} == {
            "base": False, "debug": False, "codes": True, "flava": True, "single": True,
        }  # fmt: skip

    def test_origins_by_key(self) -> None:
        origins = load("flava").origins
        assert origins["stages", "joint", "streams", "pairs", "weight"] == "recipes/flava.yaml:12"
        assert origins["stages", "codes", "optimizer", "warmup"] == "recipes/base.yaml:1"

    def test_the_origin_of_a_default_is_that_of_what_it_belongs_to(self) -> None:
        recipe = load("flava")
        assert recipe.origin("joint", ("streams", "pairs", "objectives", "itc", "smooth")) == "recipes/flava.yaml:12"
        assert recipe.origin("joint", ("loader", "threads")) == "recipes/flava.yaml"


@pytest.mark.usefixtures("write")
class TestMissingData:
    def test_only_what_is_not_on_disk(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("VLTK_DATA", "store")
        for name in ("scenes/train", "scenes/images"):
            folder = Path("store") / name
            folder.mkdir(parents=True)
            (folder / "manifest.json").write_text("{}")
        vocabulary = ["tokenizer={vocab: words/vocab.txt}"]
        ((dev, shard), (vocab, learn)) = needs.missing_data(glance("flava", vocabulary))
        assert "scenes/dev" in dev and shard == "vltk data shard SOURCE scenes/dev"
        assert "words/vocab.txt" in vocab and learn.startswith("vltk data vocab")
        (Path("store") / "words").mkdir()
        (Path("store") / "words" / "vocab.txt").write_text("[PAD]\n")
        (Path("store") / "scenes/dev").mkdir()
        (Path("store") / "scenes/dev/manifest.json").write_text("{}")
        needs.require_data(load("flava", vocabulary))

    def test_it_is_said_with_exit_code_3(self) -> None:
        with pytest.raises(Missing) as error:
            needs.require_data(glance("flava"))
        assert error.value.exit_code == 3
        assert len(error.value.steps) == 3
        assert str(error.value).startswith("flava needs data that is not in data; missing:\n  1. ")
