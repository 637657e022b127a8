"""Sweep files: every variant is a recipe, and every mistake has its file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness import ROOT
from tests.unit.sweep.conftest import Write
from vltk.errors import RecipeError
from vltk.recipe import load as load_recipe
from vltk.sweep import commands, measure
from vltk.sweep.load import load


def mistakes(path: Path, *overrides: str) -> list[str]:
    with pytest.raises(RecipeError) as error:
        measure.check(load(path, overrides))
    assert error.value.exit_code == 2
    return error.value.problems


class TestVariants:
    def test_overrides_are_those_of_recipes(self, write: Write) -> None:
        sweep = load(write(), ["optimizer.lr=3e-4"])
        plain, fresh = sweep.variants["plain"], sweep.variants["fresh"]
        assert sweep.name == "starts" and list(sweep.variants) == ["plain", "fresh"]
        assert list(plain.stages) == ["first", "second"] and list(fresh.stages) == ["second"]
        assert plain.stages["second"].init == {"image": "first"} and fresh.stages["second"].init == {}
        assert (plain.stages["first"].steps, plain.stages["second"].steps, fresh.stages["second"].steps) == (
            600,
            40,
            40,
        )
        assert {stage.optimizer.lr for recipe in (plain, fresh) for stage in recipe.stages.values()} == {3e-4}
        assert plain.origins["stages", "second", "steps"] == "starts.yaml:9"

    def test_dots_are_keys_and_a_stage_wins_over_all_stages(self, write: Write) -> None:
        new = "plain: {stages.second.optimizer.lr: 2e-4, optimizer: {lr: 1e-4}, model.image.dropout: 0.1}"
        stages = load(write("plain: {}", new)).variants["plain"].stages
        assert [stage.optimizer.lr for stage in stages.values()] == [1e-4, 2e-4]
        assert [stage.model.image.dropout for stage in stages.values()] == [0.1, 0.1]

    def test_an_included_stage_stands_in_the_place_of_the_old_one(self, write: Write) -> None:
        Path("other.yaml").write_text("steps: 7\nstreams: {pairs: {data: [shapes/dev], batch_size: 6}}\n")
        new = "plain: {stages: {first: {include: other.yaml, seed: 3}}}"
        first = load(write("plain: {}", new)).variants["plain"].stages["first"]
        assert (first.steps, first.seed, first.model.part) == (7, 3, "clip")
        assert list(first.streams["pairs"].data) == ["shapes/dev"]

    def test_a_variant_may_include_a_file_of_overrides(self, write: Write) -> None:
        Path("slow.yaml").write_text("optimizer: {lr: 1e-5, warmup: 3}\n")
        stages = load(write("plain: {}", "plain: {include: slow.yaml, optimizer.warmup: 4}")).variants["plain"].stages
        assert [(stage.optimizer.lr, stage.optimizer.warmup) for stage in stages.values()] == [(1e-5, 4)] * 2

    def test_the_command_line_sets_keys_of_the_sweep_and_of_variants(self, write: Write) -> None:
        sweep = load(write(), ["seeds=[7]", "name=other", "variants.fresh=null", "variants.plain.precision=fp32"])
        assert (sweep.name, sweep.options.seeds, list(sweep.variants)) == ("other", [7], ["plain"])
        assert {stage.precision for stage in sweep.variants["plain"].stages.values()} == {"fp32"}

    def test_the_seed_goes_to_the_stages_that_vary(self, write: Write) -> None:
        sweep = load(write())
        recipe = sweep.recipe("plain", 5)
        assert recipe.name == "starts/plain-5"
        assert {name: stage.seed for name, stage in recipe.stages.items()} == {"first": 0, "second": 5}
        everywhere = load(write("vary: [second]\n", "")).recipe("plain", 5)
        assert {name: stage.seed for name, stage in everywhere.stages.items()} == {"first": 5, "second": 5}


class TestMistakes:
    @pytest.mark.parametrize(
        ("old", "new", "expected"),
        [
            ("seeds: [0, 1]", "seeds: []", "starts.yaml:3: seeds: List should have at least 1 item"),
            ("seeds: [0, 1]", "seeds: [1, 1]", "starts.yaml:3: seeds: a seed should stand there once, given [1, 1]"),
            ("seeds: [0, 1]\n", "", "starts.yaml:2: seeds: required, and not given"),
            (
                "baseline: plain",
                "baseline: plian",
                "starts.yaml:5: baseline: no variant 'plian'; did you mean 'plain'? have: fresh, plain",
            ),
            ("baseline: plain", "basline: plain", "starts.yaml:5: basline: unknown key, given 'plain'; did you mean"),
            ("vary: [second]", "vary: [secnd]", "starts.yaml:4: vary: no stage 'secnd'; did you mean 'second'?"),
            ("  plain: {}", "  plain:", "starts.yaml:11: variants.plain: nothing stands there; without overrides"),
            ("  plain: {}", "  a b: {}\n  plain: {}", "starts.yaml:11: variants.a b: should be a word for a folder"),
            ("  plain: {}", "  plain: {optimzer: {lr: 1}}", "starts.yaml:11: optimzer: unknown key, given"),
            ("  plain: {}", "  plain: {optimizer: {lrr: 1}}", "starts.yaml:11: optimizer.lrr: unknown key"),
            ("first: null,", "frist: null,", "starts.yaml:12: stages.frist: no such stage; did you mean 'first'?"),
            ("toy.yaml", "toi.yaml", "starts.yaml:2: sweep: toi.yaml: no such recipe, by path or by name"),
            ("toy.yaml", "starts.yaml", "starts.yaml:2: sweep: 'starts.yaml' is a sweep itself; name a recipe"),
            (
                "  plain: {}",
                "  plain: {stages.second.seed: 3}",
                "starts.yaml:11: seed: stage 'second' takes the `seeds`",
            ),
            ("[second]", "[first]", "starts.yaml:12: variants.fresh: seeds 0 and 1 train the same stage 'second'"),
            ("R@1: dev", "R@1: dve", "starts.yaml:7: measure.R@1: no task 'dve'; did you mean 'dev'? have: "),
            (
                "text_to_image R@1",
                "text_to_image",
                "starts.yaml:7: measure.R@1: should be 'TASK METRIC': task dev has no metric 'text_to_image'; ",
            ),
            ("dev text_to", "retrieval text_to", "starts.yaml:7: measure.R@1: no task 'retrieval'"),
            (
                "{metric: dev image_to_text R@10, at: last}",
                "{metric: 'retrieval:shapes/dev image_to_text R@10', at: last}",
                "starts.yaml:8: measure.R@10: at: 'last' is for tasks that the recipe evaluates while training",
            ),
            ("at: last", "stage: frist", "starts.yaml:8: measure.R@10.stage: no stage 'frist'; did you mean 'first'?"),
        ],
    )
    def test_each_at_its_line(self, write: Write, old: str, new: str, expected: str) -> None:
        (found,) = mistakes(write(old, new))
        assert found.startswith(expected)

    def test_all_at_once(self, write: Write) -> None:
        path = write("baseline: plain", "baseline: none")
        path.write_text(path.read_text().replace("plain: {}", "plain: {sed: 1}\n  other: {steps: no}"))
        found = mistakes(path)
        assert [line.split(": ")[0] for line in found] == ["starts.yaml:5", "starts.yaml:11", "starts.yaml:12"]
        assert found[1].endswith("(in the variant plain)")

    def test_what_only_one_variant_has_names_it(self, write: Write) -> None:
        """The mistake stands in the recipe, where nothing tells that a variant made it one."""
        (found,) = mistakes(write("first: null, second: {init: null}", "first: null"))
        assert found.startswith("toy.yaml:6: stages.second.init.image: stage 'first' does not exist")
        assert found.endswith("(in the variant fresh)")

    def test_a_file_that_is_not_there_is_all_that_is_said(self, write: Write) -> None:
        (found,) = mistakes(write("plain: {}", "plain: {stages: {first: {include: nothing.yaml}}}"))
        assert found.startswith("starts.yaml:11: include: no file 'nothing.yaml'; ")

    def test_a_recipe_is_no_sweep_and_a_sweep_no_recipe(self, write: Write) -> None:
        write()
        assert mistakes(Path("toy.yaml"))[0].startswith("toy.yaml: a recipe, not a sweep")
        with pytest.raises(
            RecipeError, match="starts.yaml:2: sweep: this is a sweep, many runs of a recipe: vltk sweep"
        ):
            load_recipe("starts.yaml")


def test_a_dry_run_refuses_what_training_would(write: Write) -> None:
    with pytest.raises(RecipeError, match="measure.R@1: no task 'dve'"):
        commands.show(str(write("R@1: dev", "R@1: dve")))
    with pytest.raises(RecipeError, match="tokenizer.max_length: 99 given, but model.text.max_length is 64"):
        commands.show(str(write()), ["tokenizer.max_length=99"])


def test_the_sweep_of_the_documentation(write: Write) -> None:
    text = (ROOT / "docs" / "sweeps.md").read_text(encoding="utf-8")
    sweep = load(write(text=text.partition("```yaml\n")[2].partition("```")[0]))
    measure.check(sweep)
    assert {name: len(recipe.stages) for name, recipe in sweep.variants.items()} == {
        "scratch": 2, "unimodal": 4, "slower": 4,
    }  # fmt: skip
    assert sweep.variants["slower"].stages["joint"].optimizer.lr == 5e-4
