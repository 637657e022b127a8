"""Recipes: includes, stages and overrides become one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.toy_recipes import SINGLE, Write, mistakes
from vltk.recipe import available, load, plain


@pytest.mark.usefixtures("write")
class TestLoading:
    def test_stages_stand_over_the_keys_of_all(self) -> None:
        recipe = load("flava")
        assert recipe.name == "flava" and list(recipe.stages) == ["codes", "joint"]
        codes, joint = recipe.stages.values()
        assert (codes.model.part, joint.model.part) == ("dvae", "flava")
        assert (codes.steps, joint.steps) == (100, 20)
        assert codes.optimizer.warmup == joint.optimizer.warmup == 10
        assert (codes.optimizer.lr, joint.optimizer.lr) == (0.01, 0.0005)
        assert (codes.optimizer.clip, joint.optimizer.clip) == (None, 1.0)
        assert codes.streams["image"].objectives["mim"].build(model=1, codes=2).ratio == 0.3

    def test_numbers_as_people_write_them(self) -> None:
        recipe = load("flava", ["stages.joint.deepspeed.x=1e-3", "stages.joint.deepspeed.y=+.5E2"])
        assert recipe.stages["joint"].deepspeed == {"zero": {"bucket": 5e8}, "x": 1e-3, "y": 50.0}

    def test_without_stages_there_is_one_called_train(self) -> None:
        assert list(load("single").stages) == ["train"]

    @pytest.mark.parametrize("name", ["flava", "flava.yaml", "recipes/flava.yaml", "./recipes/flava.yaml"])
    def test_found_by_name_and_by_path(self, name: str) -> None:
        assert load(name).path == Path("recipes/flava.yaml")

    def test_shipped_recipes_are_found_where_the_folder_has_none(self) -> None:
        Path("recipes").rename("shipped")
        assert load("recipes/flava.yaml").path.parts[-2:] == ("shipped", "flava.yaml")
        assert sorted(available()) == ["base", "codes", "debug", "flava", "single"]

    def test_the_same_file_gives_the_same_recipe(self) -> None:
        assert load("flava").stages == load("flava").stages


@pytest.mark.usefixtures("write")
class TestMerging:
    def test_lists_replace_whole_and_mappings_merge(self, write: Write) -> None:
        write("mine.yaml", "include: flava.yaml\nstages: {joint: {streams: {pairs: {data: [x], weight: 1}}}}\n")
        pairs = load("mine").stages["joint"].streams["pairs"]
        assert (pairs.data, pairs.weight, pairs.batch_size) == (["x"], 1.0, 8)

    def test_null_takes_an_inherited_key_out(self, write: Write) -> None:
        write("mine.yaml", "include: flava.yaml\nstages: {joint: {streams: {pairs: {objectives: {mim: null}}}}}\n")
        assert list(load("mine").stages["joint"].streams["pairs"].objectives) == ["itc"]
        write("mine.yaml", "include: flava.yaml\nstages: {codes: null, joint: {frozen: {codes: null}}}\n")
        assert list(load("mine").stages) == ["joint"]

    def test_another_part_replaces_the_options_of_the_first(self) -> None:
        recipe = load("flava", ["stages.joint.model={part: dvae, codes: 3}"])
        assert plain(recipe.stages["joint"])["model"] == {"part": "dvae", "codes": 3}

    def test_the_same_part_keeps_the_other_options(self, write: Write) -> None:
        write(
            "mine.yaml", "include: flava.yaml\nmodel: {image: {part: vit, depth: 2}}\nstages: {codes: {model: dvae}}\n"
        )
        model = load("mine").resolved()["stages"]["joint"]["model"]
        assert model == {"part": "flava", "width": 32, "image": {"part": "vit", "depth": 2, "width": 8}}

    def test_a_part_given_by_its_name_takes_options(self) -> None:
        assert plain(load("single", ["model.width=3"]).stages["train"])["model"]["width"] == 3

    def test_later_includes_win_also_over_the_stages_of_earlier_ones(self, write: Write) -> None:
        write("mine.yaml", "include: [flava.yaml, debug.yaml]\nstages: {joint: {steps: 5}}\n")
        codes, joint = load("mine").stages.values()
        assert (codes.steps, joint.steps, codes.optimizer.warmup, joint.optimizer.lr) == (2, 5, 0, 5e-4)
        assert load("mine").name == "mine"

    def test_an_include_finds_recipes_as_the_command_line_does(self, write: Write, tmp_path: Path) -> None:
        """By name or by file: beside the file, in ./recipes, among those that are shipped."""
        (tmp_path / "shipped" / "parts").mkdir(parents=True)
        (tmp_path / "shipped" / "known.yaml").write_text("include: [parts/steps]\nname: known\n" + SINGLE)
        (tmp_path / "shipped" / "parts" / "steps.yaml").write_text("seed: 9\n")
        far = tmp_path / "elsewhere" / "mine.yaml"
        far.parent.mkdir()
        for named in ("known", "known.yaml", "../shipped/known.yaml"):
            far.write_text(f"include: [{named}, parts/steps.yaml]\nsteps: 7\n")
            recipe = load(far)
            assert (recipe.name, recipe.stages["train"].steps, recipe.stages["train"].seed) == ("mine", 7, 9)
        far.write_text("include: flava\n")
        assert list(load(far).stages) == ["codes", "joint"]  # of ./recipes

    def test_includes_are_relative_to_the_file(self, write: Write) -> None:
        (Path("recipes") / "deep").mkdir()
        write("deep/inner.yaml", "include: ../single.yaml\n")
        write("mine.yaml", "include: deep/inner.yaml\nsteps: 4\n")
        assert load("mine").stages["train"].steps == 4


@pytest.mark.usefixtures("write")
class TestCommandLine:
    def test_a_key_is_set_on_every_stage_and_wins(self) -> None:
        recipe = load("flava", ["optimizer.lr=1e-5", "stages.joint.optimizer.lr=2e-5", "stages.codes.steps=3"])
        assert [stage.optimizer.lr for stage in recipe.stages.values()] == [1e-5, 2e-5]
        assert recipe.stages["codes"].steps == 3

    def test_a_key_that_only_some_stages_know_is_set_on_those(self) -> None:
        recipe = load("flava", ["streams.pairs.batch_size=2", "model.width=16", "streams.pairs.objectives.mim=null"])
        codes, joint = recipe.stages.values()
        assert list(codes.streams) == ["image"] and codes.model.part == "dvae"
        assert joint.streams["pairs"].batch_size == 2
        assert plain(joint)["model"]["width"] == 16
        assert list(joint.streams["pairs"].objectives) == ["itc"]

    def test_include_sets_every_value_of_a_file(self) -> None:
        assert [stage.steps for stage in load("flava", ["include=debug"]).stages.values()] == [2, 2]
        assert [stage.steps for stage in load("flava", ["include=recipes/debug.yaml", "steps=4"]).stages.values()] == [
            4,
            4,
        ]

    def test_the_name(self) -> None:
        assert load("flava", ["name=try-2"]).name == "try-2"

    def test_values_may_hold_any_yaml(self) -> None:
        recipe = load("single", ["streams.text.data=[b, c]", "evaluate={tasks: {t: {part: retrieval, data: d}}}"])
        assert recipe.stages["train"].streams["text"].data == ["b", "c"]
        assert recipe.stages["train"].evaluate.tasks["t"].build().data == "d"

    def test_every_mistake_at_once(self) -> None:
        assert mistakes(
            "flava",
            "optimzer.lr=3",
            "streams.pairs.objectives.itc.temperatur=1",
            "streams.pears.batch_size=3",
            "streams.txt=null",
            "stages.jont.steps=3",
            "optimizer.lr=abc",
            "streams.pairs.objectives.imt.ratio=3",
            "nonsense",
            "name=../b",
            "include=debugg",
        ) == [
            "command line 'nonsense': should be key=value, as optimizer.lr=5e-4",
            "command line 'include=debugg': debugg: no such recipe, by path or by name; did you mean 'debug'? "
            "have: base, codes, debug, flava, single",
            "command line 'streams.txt=null': streams.txt: nothing to take out; have: image, pairs, pears",
            "command line 'stages.jont.steps=3': stages.jont: no such stage; did you mean 'joint'? have: codes, joint",
            "command line 'name=../b': name: should be a word for a folder, given '../b'",
            "command line 'streams.pears.batch_size=3': streams.pears.data: required, and not given",
            "command line 'streams.pears.batch_size=3': streams.pears.objectives: required, and not given",
            "command line 'optimizer.lr=abc': optimizer.lr: Input should be a valid number, "
            "unable to parse string as a number, given 'abc'",
            "command line 'optimzer.lr=3': optimzer: unknown key, given {'lr': 3}; did you mean 'optimizer'? have: "
            "average, checkpoint, checkpoint_activations, deepspeed, description, evaluate, faults, frozen, image, "
            "init, kind, loader, log_every, micro_batch, model, optimizer, precision, seed, steps, streams, tokenizer",
            "command line 'streams.pairs.objectives.itc.temperatur=1': streams.pairs.objectives.itc.temperatur: "
            "unknown key, given 1; did you mean 'temperature'? have: smooth, temperature",
            "command line 'streams.pairs.objectives.imt.ratio=3': streams.pairs.objectives.imt: "
            "no 'imt' in toyparts/objectives; did you mean 'mim'? have: itc, mim",
        ]
