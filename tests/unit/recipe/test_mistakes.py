"""Recipes: every mistake at once, with its place."""

from __future__ import annotations

import pytest

from tests.toy_recipes import SINGLE, Write, mistakes


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
            "have: betas, clip, eps, final_lr, final_weight_decay, lr, lr_steps, schedule, warmup, weight_decay",
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

    def test_a_step_is_a_number(self, write: Write) -> None:
        path = write("bad.yaml", "include: flava.yaml\nstages: {joint: {frozen: {codes: codes@last}}}\n")
        assert mistakes(path) == [
            "recipes/bad.yaml:2: stages.joint.frozen.codes: what follows @ is a step, a number; given: 'last'"
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
