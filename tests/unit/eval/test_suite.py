"""A suite survives: what is done stays, a failure costs one task, processes share, and the numbers are the same."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.official import glue
from tests.official.vision import WRITERS
from tests.unit.eval.encoders import blind, seeing
from tests.unit.eval.test_official_tasks import encode_by
from tests.unit.eval.test_run import stage
from vltk.errors import Missing
from vltk.eval import claims, features, run
from vltk.eval.queue import Queue, TasksFailed, cost
from vltk.eval.sources import Library
from vltk.eval.task import read
from vltk.eval.workers import without_jobs

TASKS = ["cifar10", "gtsrb", "eurosat"]


@pytest.fixture
def suite(tmp_path: Path, trained: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[dict[str, Any]]]:
    """Evaluates a run (`one` unless told) on TASKS from their fixtures, in `work` below the test's folder."""
    for name in TASKS:
        WRITERS[name](tmp_path / "official" / name)
    trained.image = type("Image", (), {"size": 32})
    monkeypatch.setattr(run.run, "load", lambda spec: replace(trained, name=f"{Path(spec).name}/joint"))
    encode_by(monkeypatch, seeing)

    def evaluate(folder: str = "work", runs: tuple[str, ...] = ("one",), **options: Any) -> list[dict[str, Any]]:
        (tmp_path / folder).mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / folder)
        for name in runs:
            if not Path("runs", name).exists():
                stage(Path("runs", name, "joint"))
        given = {"data": tmp_path / "official", "nonstandard": True, **options}
        return run.evaluate(list(runs), tasks=given.pop("tasks", TASKS), options=run.Options(**given))

    return evaluate


def found(folder: Path) -> list[tuple[str, str, float, int, list[float]]]:
    """What was measured, without times."""
    rows = [json.loads(line) for line in (folder / "runs/one/joint/results.jsonl").read_text().splitlines()]
    return sorted((row["task"], row["metric"], row["value"], row["n"], row.get("interval", [])) for row in rows)


def table(folder: Path) -> str:
    return (folder / "runs/one/joint/evaluations/tasks.md").read_text()


def test_what_is_done_is_not_done_again(suite: Any, tmp_path: Path, trained: Any, monkeypatch: Any) -> None:
    rows = suite()
    calls: list[str] = []
    encode_by(monkeypatch, lambda images: calls.append("encoded") or seeing(images))
    assert suite() == rows and not calls
    assert len(found(tmp_path / "work")) == len(rows) == 6
    WRITERS["cifar10"](tmp_path / "more")
    (tmp_path / "official/cifar10/README").write_text("another file: another fingerprint")
    suite()
    assert calls  # its data is not what it was
    suite(redo=True, seed=0)
    assert len(found(tmp_path / "work")) > 6


def test_everything_about_a_task_is_in_its_file(suite: Any, tmp_path: Path) -> None:
    suite(tasks=["cifar10"])
    (path,) = (tmp_path / "work/runs/one/joint/evaluations").glob("cifar10-*.json")
    told = json.loads(path.read_text())
    assert told["status"] == "done" and told["protocol"]["train"] == "official/cifar10/train"
    data = told["data"]["official/cifar10/train"]
    assert data["rule"].startswith("a fifth of each class") and len(data["keys_sha256"]) == 64
    detail = told["rows"][0]["detail"]
    assert detail["converged"] is True and detail["penalty"] and len(detail["sweep"]) >= 7
    assert told["interval_methods"] == {"accuracy": "wilson", "mean per-class accuracy": "wilson"}  # all are right
    assert told["marks"] == ["not the official samples"]
    assert told["environment"]["versions"]["numpy"] and len(told["model"]["weights"]) == 64
    found = run.Table.of([run.Evaluation(path, told)], "flava").lines[0]
    assert found.published["flava"]["comparable"] is False and found.headline
    assert run.Evaluation(path, told).answers()["accuracy"]["labels"].tolist() == [0, 3, 9, 3]


def test_a_failed_task_is_noted_and_the_others_go_on(suite: Any, tmp_path: Path, monkeypatch: Any) -> None:
    whole = features.Samples._image

    def torn(self: Any, position: int, framing: Any) -> Any:
        if "gtsrb" in self.data:
            raise ValueError("the disk is gone")
        return whole(self, position, framing)

    with monkeypatch.context() as patch:
        patch.setattr(features.Samples, "_image", torn)
        with pytest.raises(TasksFailed, match=r"1 evaluations failed:\n.*one/joint: gtsrb: the disk is gone") as caught:
            suite()
    assert caught.value.exit_code == 2
    assert {task for task, *_ in found(tmp_path / "work")} == {"cifar10", "eurosat"}
    (path,) = (tmp_path / "work/runs/one/joint/evaluations").glob("gtsrb-*.json")
    told = json.loads(path.read_text())
    assert told["status"] == "failed" and "in torn" in told["traceback"] and "gtsrb failed" in table(tmp_path / "work")
    suite()
    assert {task for task, *_ in found(tmp_path / "work")} == set(TASKS)
    suite("straight")
    assert table(tmp_path / "work") == table(tmp_path / "straight")


def test_a_failure_leaves_what_was_done(suite: Any, tmp_path: Path, capsys: Any) -> None:
    rows = suite(tasks=["gtsrb"])
    folder, labels = tmp_path / "work/runs/one/joint/evaluations", tmp_path / "official/gtsrb/GT-final_test.csv"
    (done,) = folder.glob("gtsrb-*.json")
    before, whole = done.read_bytes(), labels.read_bytes()
    labels.write_bytes(whole[:75])
    capsys.readouterr()
    with pytest.raises(TasksFailed):
        suite(tasks=["gtsrb", "eurosat"])
    failed = done.with_suffix(".failed.json")
    assert done.read_bytes() == before and json.loads(failed.read_text())["status"] == "failed"
    assert "gtsrb failed" in table(tmp_path / "work") and "gtsrb (1 of 2): failed, 0:0" in capsys.readouterr().out
    labels.write_bytes(whole)
    assert suite(tasks=["gtsrb"]) == rows and "gtsrb failed" not in table(tmp_path / "work") and not failed.exists()


@pytest.mark.parametrize("after", [1, 2])
def test_killed_after_a_task_the_same_report(after: int, suite: Any, tmp_path: Path, monkeypatch: Any) -> None:
    """The child dies by SIGKILL's way: no handler, no claim given back."""
    suite("straight")
    take = Queue._take
    if os.fork() == 0:
        taken: list[str] = []

        def take_and_die(self: Any, name: str, made: Any, how: str) -> None:
            take(self, name, made, how)
            taken.append(name)
            if len(taken) == after:
                os.kill(os.getpid(), 9)

        monkeypatch.setattr(Queue, "_take", take_and_die)
        suite("killed")
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.wait()[1]) == -9
    left = tmp_path / "killed/runs/one/joint/evaluations"
    assert len(list(left.glob("*.json"))) == after and len(list(left.glob("*.claim"))) == 1
    suite("killed")
    assert found(tmp_path / "killed") == found(tmp_path / "straight")
    assert table(tmp_path / "killed") == table(tmp_path / "straight") and not list(left.glob("*.claim"))


@pytest.mark.parametrize("processes", [2, 3])
def test_several_processes_give_the_same_numbers(processes: int, suite: Any, tmp_path: Path) -> None:
    suite("alone")
    stage(tmp_path / "shared/runs/one/joint")
    children = []
    for _ in range(processes):
        if (child := os.fork()) == 0:
            try:
                suite("shared")
            finally:
                os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    assert found(tmp_path / "shared") == found(tmp_path / "alone")
    assert table(tmp_path / "shared") == table(tmp_path / "alone")


def test_absent_data_is_said_at_once_or_left_out(suite: Any, tmp_path: Path, capsys: Any) -> None:
    with pytest.raises(Missing) as caught:
        suite(tasks=[*TASKS, "mnist"])
    assert f"vltk eval --fetch mnist --data {tmp_path / 'official'}" in caught.value.steps[0][1]
    assert not (tmp_path / "work/runs/one/joint/results.jsonl").exists()
    suite(tasks=[*TASKS, "mnist"], skip_absent=True)
    assert "left out, as their data is absent: mnist" in capsys.readouterr().out
    assert "absent: mnist" in table(tmp_path / "work")
    with pytest.raises(Missing, match="mnist"):
        suite(tasks=["mnist"], skip_absent=True)


def test_data_that_is_there_in_part_is_said_at_once_where_the_task_reads_the_rest(
    suite: Any, tmp_path: Path, capsys: Any
) -> None:
    glue.make(tmp_path / "official/glue")
    (tmp_path / "official/glue/MNLI/dev_matched.tsv").unlink()
    (tmp_path / "official/cifar10/cifar-10-batches-py/batches.meta").rename(tmp_path / "batches.meta")
    with pytest.raises(Missing, match="official files of cifar10, mnli"):
        suite(tasks=["eurosat", "cifar10", "mnli"])
    (tmp_path / "batches.meta").rename(tmp_path / "official/cifar10/cifar-10-batches-py/batches.meta")
    suite(tasks=["eurosat", "cifar10", "mnli"], skip_absent=True)
    assert "left out, as their data is absent: mnli" in capsys.readouterr().out
    assert {task for task, *_ in found(tmp_path / "work")} == {"eurosat", "cifar10"}
    library = Library(tmp_path / "official", nonstandard=True)
    assert library.absent("official/mnli/train") == [] != library.absent("official/mnli/dev_matched")


@pytest.mark.parametrize("skip_absent", [False, True])
def test_a_damaged_archive_fails_its_task_alone(skip_absent: bool, suite: Any, tmp_path: Path) -> None:
    archive = tmp_path / "official/gtsrb/gtsrb.zip"
    archive.write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(TasksFailed, match=r"gtsrb: .*gtsrb\.zip is damaged or cut short"):
        suite(skip_absent=skip_absent)
    assert {task for task, *_ in found(tmp_path / "work")} == {"cifar10", "eurosat"}
    (path,) = (tmp_path / "work/runs/one/joint/evaluations").glob("gtsrb-*.json")
    assert json.loads(path.read_text())["status"] == "failed"


def test_the_store_changes_no_number(suite: Any, tmp_path: Path) -> None:
    suite("kept")
    suite("plain", store=False)
    assert found(tmp_path / "kept") == found(tmp_path / "plain")
    assert (tmp_path / "kept/runs/one/joint/features").is_dir() and not list(tmp_path.glob("plain/**/features"))


def test_long_tasks_are_known_before_they_run() -> None:
    """Fine-tunings by their steps, re-ranking by its pairs; nothing is read for it."""
    entries = ["imagenet", "mnist", "rte", "rte:budget=smoke", "rte:seeds=3", "vqav2", "vqav2:budget=short", "coco"]
    entries += ["coco-reranked", "mnist:limit=100"]
    costs = {name: cost(choice) for name, choice in read(entries).items()}
    order = ["vqav2", "vqav2:budget=short", "imagenet", "coco-reranked", "rte:seeds=3", "mnist", "rte", "coco"]
    assert sorted(costs, key=lambda name: -costs[name]) == [*order, "rte:budget=smoke", "mnist:limit=100"]
    assert costs["rte:seeds=3"] == 3 * costs["rte"]


def test_a_limit_is_marked(suite: Any, tmp_path: Path) -> None:
    suite(limit=3)
    assert "limit 3" in table(tmp_path / "work")
    assert {n for *_, n, _ in found(tmp_path / "work")} == {3}


def test_two_runs_are_compared(suite: Any, tmp_path: Path, trained: Any, monkeypatch: Any, capsys: Any) -> None:
    other = replace(trained, model=type(trained.model)(), name="two/joint")
    loads = {"one": replace(trained, name="one/joint"), "two": other}
    monkeypatch.setattr(run.run, "load", lambda spec: loads[spec])

    def encodings(model: Any, images: Any, names: list[str]) -> Any:
        return {name: (blind if model is other.model else seeing)(images) for name in names}

    monkeypatch.setattr(features.inference, "image_encodings", encodings)
    suite(runs=("one", "two"), tasks=["cifar10"])
    (accuracy, _) = json.loads((tmp_path / "work/runs/one/joint/evaluations/contrasts.json").read_text())
    assert (accuracy["task"], accuracy["run"], accuracy["metric"]) == ("cifar10", "two/joint", "accuracy")
    assert accuracy["value"] < 0 and accuracy["low"] <= accuracy["value"] <= accuracy["high"]
    assert 0 < accuracy["p"] <= accuracy["adjusted"] <= 1
    assert "against one/joint" in capsys.readouterr().out


def test_a_claim_is_held_by_one_and_taken_over_from_the_dead(tmp_path: Path) -> None:
    path = tmp_path / "task.claim"
    with claims.claimed(path) as first, claims.claimed(path) as second:
        assert first and not second
    assert not path.exists()
    if (child := os.fork()) == 0:
        claims._create(path)
        os._exit(0)
    os.waitpid(child, 0)
    with claims.claimed(path) as ours:
        assert ours
    path.write_text(json.dumps({"host": "elsewhere", "pid": 1}))
    with claims.claimed(path) as ours:
        assert not ours  # it may live
    past = claims.now(tmp_path) - claims.STALE - 1
    os.utime(path, (past, past))
    with claims.claimed(path) as ours:
        assert ours
    assert not list(tmp_path.iterdir())


def test_the_arguments_of_helpers() -> None:
    assert without_jobs(["eval", "a", "--jobs", "3", "--suite", "vision"]) == ["eval", "a", "--suite", "vision"]
    assert without_jobs(["eval", "--jobs=3", "a"]) == ["eval", "a"]
