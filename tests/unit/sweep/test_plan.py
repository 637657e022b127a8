"""Which stages of a sweep are one and the same, and whose they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.sweep.conftest import Write
from vltk.identity import identity
from vltk.sweep.load import load
from vltk.sweep.plan import Plan, Run, join, links, plan


def names(found: Plan) -> dict[str, str]:
    """By `RUN/STAGE`, the run that trains it."""
    return {f"{run.name}/{stage}": found.makers[key][0].name for run in found.runs for stage, key in run.keys.items()}


def finish(run: Run, stage: str) -> None:
    folder = run.stage(stage)
    folder.path.mkdir(parents=True, exist_ok=True)
    folder.recipe.touch()
    folder.note(status="finished", identity=identity(run.recipe.stages[stage], {}, {}))


class TestSharing:
    def test_seeds_share_the_stages_that_do_not_vary(self, write: Write) -> None:
        found = plan(load(write()))
        assert [run.name for run in found.runs] == ["plain-0", "fresh-0", "plain-1", "fresh-1"]
        assert names(found) == {
            "plain-0/first": "plain-0", "plain-0/second": "plain-0", "fresh-0/second": "fresh-0",
            "plain-1/first": "plain-0", "plain-1/second": "plain-1", "fresh-1/second": "fresh-1",
        }  # fmt: skip
        assert found.trainings() == 5

    def test_variants_share_what_they_do_not_change(self, write: Write) -> None:
        other = "plain: {}\n  slow: {stages: {second: {optimizer: {lr: 1e-5}}}}"
        found = names(plan(load(write("plain: {}", other), ["vary=null"])))
        assert (found["slow-0/first"], found["slow-1/first"]) == ("plain-0", "plain-1")
        assert found["slow-0/second"] == "slow-0"

    @pytest.mark.parametrize(
        ("change", "first", "second"),
        [
            ("stages: {first: {steps: 9}}", "other-0", "other-0"),  # another first makes another second
            ("stages: {first: {log_every: 3}, second: {loader: {threads: 4}}}", "plain-0", "plain-0"),
            ("stages: {second: {init: {image: first@5}}}", "other-0", "other-0"),  # a checkpoint that has to be kept
            ("stages: {first: {evaluate: {every: 7}}}", "other-0", "other-0"),  # other results of the same weights
        ],
    )
    def test_what_makes_a_stage_another_one(self, write: Write, change: str, first: str, second: str) -> None:
        found = names(plan(load(write("plain: {}", f"plain: {{}}\n  other: {{{change}}}"))))
        assert (found["other-0/first"], found["other-0/second"]) == (first, second)


class TestLinks:
    def test_a_finished_stage_of_another_run_is_linked(self, write: Write) -> None:
        found = plan(load(write()))
        owner, _, other, _ = found.runs
        finish(owner, "first")
        join(found, owner)
        join(found, other)
        assert links(found) == {"plain-1/first": "plain-0/first"}
        assert Path("runs/starts/plain-1/first").readlink() == Path("../plain-0/first")
        assert other.is_finished("first") and not other.is_finished("second")

    def test_a_link_to_what_is_no_longer_the_same_is_dropped(self, write: Write) -> None:
        found = plan(load(write()))
        finish(found.runs[0], "first")
        join(found, found.runs[2])
        changed = plan(load(write("plain: {}", "plain: {stages.first.steps: 9}")))
        join(changed, changed.runs[0])
        assert links(changed) == {"plain-1/first": "plain-0/first"}  # until its run is taken up
        assert not changed.runs[2].is_finished("first")
        finish(changed.runs[0], "first")
        join(changed, changed.runs[2])
        assert changed.runs[2].is_finished("first")

    def test_a_stage_that_a_run_has_begun_stays_its_own(self, write: Write) -> None:
        """As where the run was the first one before the sweep was changed."""
        found = plan(load(write()))
        finish(found.runs[2], "first")
        assert found.maker(found.runs[2], "first") is None
        join(found, found.runs[2])
        assert links(found) == {}
