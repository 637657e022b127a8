"""Recipes: includes, stages, overrides, origins, and every mistake at once with its place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests import toy
from vltk import needs, recipe_files
from vltk.errors import Missing, RecipeError
from vltk.recipe import available, describe, glance, load, load_resolved, plain

BASE = """\
optimizer: {lr: 5e-4, warmup: 10}
name: base
"""
CODES = """\
model: {part: dvae, codes: 7}
streams: {image: {data: [scenes/images], batch_size: 4, objectives: {mim: {ratio: .3}}}}
steps: 1e2
"""
FLAVA = """\
# FLAVA, but small.
include: [base.yaml]
model: {part: flava, width: 32}
stages:
  codes: {include: codes.yaml, optimizer: {lr: 1e-2, clip: null}}
  joint:
    frozen: {codes: codes}
    steps: 20
    deepspeed: {zero: {bucket: 5e8, offload: null}}
    evaluate: {tasks: {dev: {part: retrieval, data: scenes/dev}}, best: dev text_to_image R@1}
    streams:
      pairs: {data: [scenes/train], batch_size: 8, weight: 3, objectives: {itc: {}, mim: {}}}
"""
DEBUG = """\
steps: 2
optimizer: {warmup: 0}
"""
SINGLE = """\
model: flava
steps: 3
streams: {text: {data: [a], batch_size: 2, objectives: {itc: {}}}}
"""

Write = Callable[[str, str], Path]


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

    texts = {"base.yaml": BASE, "codes.yaml": CODES, "flava.yaml": FLAVA, "debug.yaml": DEBUG, "single.yaml": SINGLE}
    for name, text in texts.items():
        put(name, text)
    return put


def mistakes(name: str | Path, *overrides: str) -> list[str]:
    with pytest.raises(RecipeError) as error:
        load(name, overrides)
    assert error.value.exit_code == 2
    return error.value.problems


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
            "name=a/b",
            "include=debugg",
        ) == [
            "command line 'nonsense': should be key=value, as optimizer.lr=5e-4",
            "command line 'include=debugg': debugg: no such recipe, by path or by name; did you mean 'debug'? "
            "have: base, codes, debug, flava, single",
            "command line 'streams.txt=null': streams.txt: nothing to take out; have: image, pairs, pears",
            "command line 'stages.jont.steps=3': stages.jont: no such stage; did you mean 'joint'? have: codes, joint",
            "command line 'name=a/b': name: should be a word for a folder, given 'a/b'",
            "command line 'streams.pears.batch_size=3': streams.pears.data: required, and not given",
            "command line 'streams.pears.batch_size=3': streams.pears.objectives: required, and not given",
            "command line 'optimizer.lr=abc': optimizer.lr: Input should be a valid number, "
            "unable to parse string as a number, given 'abc'",
            "command line 'optimzer.lr=3': optimzer: unknown key, given {'lr': 3}; did you mean 'optimizer'? have: "
            "checkpoint, deepspeed, description, evaluate, frozen, image, init, kind, loader, log_every, micro_batch, "
            "model, optimizer, precision, seed, steps, streams, tokenizer",
            "command line 'streams.pairs.objectives.itc.temperatur=1': streams.pairs.objectives.itc.temperatur: "
            "unknown key, given 1; did you mean 'temperature'? have: smooth, temperature",
            "command line 'streams.pairs.objectives.imt.ratio=3': streams.pairs.objectives.imt: "
            "no 'imt' in toyparts/objectives; did you mean 'mim'? have: itc, mim",
        ]


class TestMistakes:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("a: b: c\n", ["recipes/bad.yaml:1: mapping values are not allowed here"]),
            ("steps: [1\nseed: 2\n", ["recipes/bad.yaml:2: expected ',' or ']', but got ':'"]),
            ("- a\n", ["recipes/bad.yaml:1: a recipe is a mapping of key: value, given ['a']"]),
            ("x: &x 1\ny: *x\n", ["recipes/bad.yaml:2: aliases are not read; use include"]),
            ("a: !!python/object/apply:os.system [ls]\nb: !x y\n", ["recipes/bad.yaml:2: could not determine a "]),
            (
                "\ninclude: bse.yaml\n",
                [
                    "recipes/bad.yaml:2: include: no file 'bse.yaml'; did you mean 'base.yaml'? "
                    "have: bad.yaml, base.yaml, codes.yaml, debug.yaml, flava.yaml, single.yaml"
                ],
            ),
            ("include: bad.yaml\n", ["recipes/bad.yaml:1: include: 'bad.yaml' includes this file in turn"]),
            ("include: 3\n" + SINGLE, ["recipes/bad.yaml:1: include: should be the name of a file, given 3"]),
            ("stages: 3\n" + SINGLE, ["recipes/bad.yaml:1: stages: should be name: {keys}, given 3"]),
            ("name: a b\n" + SINGLE, ["recipes/bad.yaml:1: name: should be a word for a folder, given 'a b'"]),
            (
                "seed: 1\nseed: 2\n" + SINGLE,
                ["recipes/bad.yaml:2: seed: stands twice in one mapping, first at recipes/bad"],
            ),
            ("no: 1\n" + SINGLE, ["recipes/bad.yaml:1: a key should be a word, given False; put it in quotes"]),
        ],
    )
    def test_of_a_file(self, write: Write, text: str, expected: list[str]) -> None:
        found = mistakes(write("bad.yaml", text))
        assert len(found) == len(expected)
        for line, start in zip(found, expected, strict=True):
            assert line.startswith(start)

    def test_of_the_schema_each_at_its_line(self, write: Write) -> None:
        path = write(
            "bad.yaml",
            "include: [flava.yaml]\n"
            "optimizer: {lrr: 3}\n"
            "seed: yes\n"
            "stages:\n"
            "  joint:\n"
            "    init: {text: a.b, image: runs/x, fusion: joint}\n"
            "    frozen:\n"
            "      codes: late\n"
            "    evaluate: {best: test R@1}\n"
            "    streams:\n"
            "      pairs:\n"
            "        batch_size: -1\n"
            "        data: []\n"
            "  late:\n"
            "    include: codes.yaml\n"
            "    streams: {image: {objectives: {mim: null, itc: }}}\n"
            "    model: {part: dvea}\n",
        )
        assert mistakes(path) == [
            "recipes/bad.yaml:2: optimizer.lrr: unknown key, given 3; did you mean 'lr'? "
            "have: betas, clip, eps, final_lr, lr, schedule, warmup, weight_decay",
            "recipes/bad.yaml:3: seed: should not be yes or no, given True",
            "recipes/bad.yaml:6: stages.joint.init.fusion: stage 'joint' comes later; have: codes; "
            "a run is a path: runs/joint",
            "recipes/bad.yaml:8: stages.joint.frozen.codes: stage 'late' comes later; have: codes; "
            "a run is a path: runs/late",
            "recipes/bad.yaml:9: stages.joint.evaluate: best should be 'TASK METRIC', given 'test R@1'; have: dev",
            "recipes/bad.yaml:12: stages.joint.streams.pairs.batch_size: Input should be greater than 0, given -1",
            "recipes/bad.yaml:13: stages.joint.streams.pairs.data: "
            "List should have at least 1 item after validation, not 0, given []",
            "recipes/bad.yaml:16: stages.late.streams.image.objectives.itc: "
            "null takes out an inherited entry, and there is none; without options, write {}",
            "recipes/bad.yaml:16: stages.late.streams.image.objectives: at least 1 wanted; have: itc, mim",
            "recipes/bad.yaml:17: stages.late.model: no 'dvea' in toyparts/models/families or "
            "toyparts/models/codebooks; did you mean 'dvae'? have: dvae, flava",
        ]

    def test_a_mistake_in_an_included_file_keeps_its_place(self, write: Write) -> None:
        write("base.yaml", "optimizer:\n  lr: fast\n")
        assert mistakes("flava") == [
            "recipes/base.yaml:2: stages.joint.optimizer.lr: Input should be a valid number, "
            "unable to parse string as a number, given 'fast'"
        ]

    def test_a_mistake_inside_nested_parts_keeps_its_place(self, write: Write) -> None:
        path = write("bad.yaml", "include: single.yaml\nmodel:\n  image:\n    part: vit\n    depht: 2\n  width: 3\n")
        assert mistakes(path) == [
            "recipes/bad.yaml:3: model.image.depth: required, and not given",
            "recipes/bad.yaml:5: model.image.depht: unknown key, given 2; did you mean 'depth'? have: depth, width",
        ]

    def test_a_stage_cannot_include_stages(self, write: Write) -> None:
        path = write("bad.yaml", SINGLE + "stages: {a: {include: flava.yaml}}\n")
        assert mistakes(path) == ["recipes/bad.yaml:4: include: 'flava.yaml' has stages of its own, and cannot be one"]

    @pytest.mark.usefixtures("write")
    def test_no_stage_left_and_no_such_recipe(self) -> None:
        assert mistakes("flava", "stages.joint=null", "stages.codes=null") == [
            "recipes/flava.yaml: stages: none is left"
        ]
        assert mistakes("flva") == [
            "flva: no such recipe, by path or by name; did you mean 'flava'? have: base, codes, debug, flava, single"
        ]


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

    def test_origins_by_key(self) -> None:
        origins = load("flava").origins
        assert origins["stages", "joint", "streams", "pairs", "weight"] == "recipes/flava.yaml:12"
        assert origins["stages", "codes", "optimizer", "warmup"] == "recipes/base.yaml:1"


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
