"""Our own run in the learning benchmark: a toy run's folder is read as it was trained, or refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from benchmarks.peers.courses import refuse_unlike
from benchmarks.peers.ours import read_run
from tests.harness import call, facts, rows
from tests.unit.benchmarks.toy import RECIPE
from vltk.errors import Missing, VltkError

STAGES = """\
steps: 4
log_every: 1
evaluate: {every: 1, best: dev mean recall, tasks: {dev: {captions: 5}}}
stages: {first: {steps: 2}, second: {init: {image: first}}}
"""
DATA = ("shapes/train", "shapes/dev")


@pytest.fixture
def toy(home: Path) -> Path:
    """The folder of a finished run of two stages, `toy`, with seed 3."""
    (home / "toy.yaml").write_text(RECIPE + STAGES)
    assert call("train", "toy.yaml", "seed=3") == 0
    return home / "runs" / "toy"


def test_evaluations_of_the_last_stage_with_the_clock_of_all(toy: Path) -> None:
    for stage, pace in (("first", 10.0), ("second", 1.0)):
        timed = [row | {"seconds": pace * row["step"]} for row in rows(f"toy/{stage}")]
        (toy / stage / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in timed))
    course = read_run("toy", *DATA)
    assert (course.model, course.seed) == ("ours", 3)
    assert [record["step"] for record in course.records] == [1, 2, 3, 4]
    assert [record["seconds"] for record in course.records] == [21.0, 22.0, 23.0, 24.0]
    own = [row for row in rows("toy/second", "results.jsonl") if row["metric"] == "text_to_image R@10"]
    assert [record["text_to_image R@10"] for record in course.records] == [row["value"] for row in own]
    assert course.shared == {
        "width": 16, "heads": 2, "mlp": 32, "image_depth": 2, "text_depth": 2, "image": 32, "patch": 16
    }  # fmt: skip


def test_a_later_evaluation_is_no_part_of_training(toy: Path) -> None:
    results = toy / "second" / "results.jsonl"
    later = rows("toy/second", "results.jsonl")[0] | {"value": 77.0, "key": "k", "step": 9}
    results.write_text(results.read_text() + json.dumps(later) + "\n")
    assert read_run("toy", *DATA).records[-1]["step"] == 4


def test_seeds_are_alike_and_other_recipes_are_not(toy: Path) -> None:
    course = read_run("toy", *DATA)
    for name, old, new in (("seed", '"seed": 3', '"seed": 4'), ("rate", '"lr": 0.001', '"lr": 0.002')):
        shutil.copytree(toy, toy.parent / name)
        for stage in ("first", "second"):
            path = toy.parent / name / stage / "run.json"
            assert old in path.read_text()
            path.write_text(path.read_text().replace(old, new))
            path = toy.parent / name / stage / "recipe.yaml"
            path.write_text(path.read_text().replace("seed: 3", "seed: 4"))
    refuse_unlike([course, read_run("seed", *DATA)])
    with pytest.raises(VltkError, match=r"first.recipe.optimizer.lr 0.001 and 0.002"):
        refuse_unlike([course, read_run("rate", *DATA)])


def test_runs_that_cannot_be_compared(toy: Path) -> None:
    with pytest.raises(Missing, match="no run 'nothing' here"):
        read_run("nothing", *DATA)
    with pytest.raises(VltkError, match="has not learnt from a/train but from shapes/train"):
        read_run("toy", "a/train", "shapes/dev")
    with pytest.raises(VltkError, match="has not evaluated retrieval on all of a/dev"):
        read_run("toy", "shapes/train", "a/dev")
    path = toy / "second" / "run.json"
    path.write_text(json.dumps(facts("toy/second") | {"status": "training"}))
    with pytest.raises(VltkError, match="second is not finished"):
        read_run("toy", *DATA)


def test_a_task_of_fewer_captions_is_another_question(toy: Path) -> None:
    path = toy / "second" / "recipe.yaml"
    assert "captions: 5" in path.read_text()
    path.write_text(path.read_text().replace("captions: 5", "captions: 1"))
    with pytest.raises(VltkError, match="has not evaluated retrieval on all of shapes/dev"):
        read_run("toy", *DATA)


def test_the_last_step_has_to_be_evaluated(toy: Path) -> None:
    results = toy / "second" / "results.jsonl"
    lines = [line for line in results.read_text().splitlines() if json.loads(line)["step"] < 4]
    results.write_text("\n".join(lines) + "\n")
    with pytest.raises(VltkError, match="second has no evaluation of its last step, 4"):
        read_run("toy", *DATA)
