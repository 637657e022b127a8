"""The table: published figures with marks, averages that say of how many tasks they are, files that say the same."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vltk.eval.answers import Answers
from vltk.eval.evaluation import Asked, Evaluation, write, write_failure
from vltk.eval.references import references
from vltk.eval.results import Score
from vltk.eval.table import Table
from vltk.eval.task import card

MODEL = {"weights": "w", "model": {}}
RNG = np.random.default_rng(0)


def probe(folder: Path, task: str, right: int, n: int = 400, limit: int | None = None, **detail: Any) -> Evaluation:
    """Of a probe that gets `right` of `n` right."""
    labels = np.arange(n) % 4
    answers = Answers("test", {"labels": labels, "predicted": np.where(np.arange(n) < right, labels, (labels + 1) % 4)})
    given = {"converged": True, **detail}
    scores = [
        Score("test", "accuracy", 100 * right / n, n, 25.0, given, answers),
        Score("test", "mean per-class accuracy", 100 * right / n, n, 25.0, {}, answers),
    ]
    choice = card(task).model_copy(update={"limit": limit})
    asked = Asked(task, choice, 0, MODEL)
    return write(folder, asked, scores, {f"official/{task}/test": {"official": True}}, "r/joint", 40, 1.5)


def test_a_number_stands_beside_what_was_published(tmp_path: Path) -> None:
    made = Table.of([probe(tmp_path, "cifar10", 360), probe(tmp_path, "sun397", 200)], "flava")
    first, second = made.lines
    assert (first.task, first.number, first.value, first.n, first.chance) == ("cifar10", "accuracy", 90.0, 400, 25.0)
    assert first.low is not None and first.high is not None and first.low < 90 < first.high
    assert first.published["flava"]["value"] == 92.87 and first.published["flava"]["comparable"] is True
    assert second.published["flava"]["comparable"] == "unverified"
    text = made.sheet().markdown()
    assert "| 92.87 |" in text and "| 82.17? |" in text and "not known whether it may be compared" in text


def test_a_mean_of_metrics_has_the_mean_of_their_chances(tmp_path: Path) -> None:
    labels, predicted = np.arange(100) % 2, (np.arange(100) < 80).astype(int)
    answers = Answers("dev", {"labels": labels, "predicted": predicted})
    scores = [Score("dev", name, 60.0, 100, chance, {}, answers) for name, chance in (("accuracy", 50.0), ("F1", 66.0))]
    made = write(tmp_path, Asked("mrpc", card("mrpc"), 0, MODEL), scores, {}, "r/joint", 40, 1.0)
    (line,) = Table.of([made], "flava").lines
    assert (line.number, line.chance, line.n) == ("accuracy and F1", 58, 100) and line.low is not None


def test_averages_say_of_how_many_tasks(tmp_path: Path) -> None:
    made = Table.of([probe(tmp_path, "cifar10", 360), probe(tmp_path, "mnist", 380)], "flava")
    (vision,) = made.averages
    assert (vision.name, vision.value, vision.tasks, vision.of) == ("vision", 92.5, 2, 22)
    assert vision.low is not None and vision.high is not None and vision.low < 92.5 < vision.high
    assert vision.high - vision.low < 5  # narrower than either task alone
    flava = references()["flava"].values
    assert vision.references["flava"] == pytest.approx((flava["cifar10"] + flava["mnist"]) / 2)
    assert "| average vision | 2 of 22 | 92.50 |" in made.sheet().markdown()


def test_an_average_of_one_task_has_its_interval(tmp_path: Path) -> None:
    made = Table.of([probe(tmp_path, "mnist", 3, 40)], "flava")
    (line,), (vision,) = made.lines, made.averages
    assert (vision.low, vision.high) == (pytest.approx(line.low), pytest.approx(line.high))
    none = Table.of([probe(tmp_path, "cifar10", 0), probe(tmp_path, "dtd", 0)], "flava").averages[0]
    assert none.value == none.low == 0 and none.high is not None and none.high > 0.5


def test_an_average_of_references_is_marked_as_its_rows(tmp_path: Path) -> None:
    for limit, mark in ((None, ""), (400, "≠")):
        made = Table.of([probe(tmp_path, "cifar10", 360, limit=limit), probe(tmp_path, "mnist", 380)], "flava")
        flava = references()["flava"].values
        shown = f"{(flava['cifar10'] + flava['mnist']) / 2:.2f}{mark}"
        assert made.averages[0].reference("flava") == shown and f"| {shown} |" in made.sheet().markdown()
    unsure = Table.of([probe(tmp_path, "cifar10", 360), probe(tmp_path, "sun397", 380)], "flava").averages[0]
    assert unsure.reference("flava").endswith("?") and unsure.reference("no_column") == ""


def test_the_average_takes_a_task_without_options(tmp_path: Path) -> None:
    found = []
    for name, value in (("mnist:framing=crop", 10.0), ("mnist", 97.0), ("mnist:seeds=3", 20.0)):
        asked = Asked(name, card("mnist"), 0, MODEL)
        found.append(write(tmp_path, asked, [Score("test", "accuracy", value, 400, 10.0)], {}, "r/joint", 40, 1.0))
    assert [one.value for one in Table.of(found, "flava").averages] == [97.0]


def test_the_protocol_chooses_the_metric(tmp_path: Path) -> None:
    found = [probe(tmp_path, "oxford_pets", 300)]
    shown = {name: Table.of(found, name).lines[0].number for name in ("flava", "clip")}
    assert shown == {"flava": "accuracy", "clip": "mean per-class accuracy"}


def test_what_cannot_be_compared_is_marked(tmp_path: Path) -> None:
    made = Table.of([probe(tmp_path, "cifar10", 36, 40, limit=40, converged=False)], "flava")
    (line,) = made.lines
    assert line.notes == ["limit 40", "the fit did not converge"]
    assert not any(one["comparable"] for one in line.published.values())
    assert "92.87≠" in made.sheet().markdown()


def test_how_a_value_came_about_is_noted(tmp_path: Path) -> None:
    told = {"seeds": {"0": 80.0, "1": 92.5, "2": 90.0}, "selection": "best loss on the first test split"}
    (line,) = Table.of([probe(tmp_path, "cifar10", 360, **told, texts_cut=40, solver="sklearn")], "flava").lines
    assert line.notes == ["solver sklearn", "best step on test", "40 texts cut"]
    assert line.remarks == [*line.notes, "median of 3, spread 12.5"] and line.seeds == told["seeds"]
    plain = probe(tmp_path, "mnist", 360, seeds={"0": 90.0}, selection="last step", texts_cut=0, solver="exact")
    assert Table.of([plain], "flava").lines[0].remarks == []


def test_medians_of_a_mean_spread_as_the_mean_does(tmp_path: Path) -> None:
    labels = np.arange(100) % 2
    answers = Answers("dev", {"labels": labels, "predicted": (np.arange(100) < 80).astype(int)})
    seeds = {"accuracy": {"0": 50.0, "1": 60.0}, "F1": {"0": 70.0, "1": 60.0}}
    scores = [Score("dev", name, 60.0, 100, 50.0, {"seeds": own}, answers) for name, own in seeds.items()]
    made = write(tmp_path, Asked("mrpc", card("mrpc"), 0, MODEL), scores, {}, "r/joint", 40, 1.0)
    (line,) = Table.of([made], "flava").lines
    assert line.seeds == {"0": 60, "1": 60} and line.remarks == ["median of 2, spread 0.0"]


def test_options_behind_a_name_are_marked_and_the_task_stays_what_it_is(tmp_path: Path) -> None:
    found = []
    for name in ("mnist:max_iterations=50:seeds=3", "mnist:framing=crop"):
        asked = Asked(name, card("mnist"), 0, MODEL)
        found.append(write(tmp_path, asked, [Score("test", "accuracy", 97.0, 400, 10.0)], {}, "r/joint", 40, 1.0))
    made = Table.of(found, "flava")
    assert [(line.task, line.headline, line.notes) for line in made.lines] == [
        ("mnist:max_iterations=50:seeds=3", True, ["max_iterations=50"]),
        ("mnist:framing=crop", True, ["framing=crop"]),
    ]
    assert all(line.published["flava"]["comparable"] is False for line in made.lines)
    assert [(one.value, one.tasks) for one in made.averages] == [(97.0, 1)]


def test_other_tasks_stand_with_all_their_metrics(tmp_path: Path) -> None:
    asked = Asked("retrieval:mine/dev", card("shapes-retrieval"), 0, MODEL)
    scores = [Score("dev", "mean recall", 50.0, 30), Score("dev", "loss", 1.5, 30)]
    made = Table.of([write(tmp_path, asked, scores, {}, "r/joint", 40, 1.0)], "flava")
    assert [(line.number, line.headline, line.published) for line in made.lines] == [
        ("mean recall", False, {}),
        ("loss", False, {}),
    ]
    assert not made.averages and "protocol" not in made.sheet().markdown()


def test_the_files_say_the_same(tmp_path: Path) -> None:
    error = ValueError("files of the data set are absent:\n  dtd.tar")
    failed = write_failure(tmp_path, Asked("dtd", card("dtd"), 0, MODEL), error, "Traceback", "r", 40)
    made = Table.of([probe(tmp_path, "cifar10", 360), failed], "flava", ["mnist"])
    path = made.write(tmp_path / "tables", "vision")
    told = json.loads(path.with_suffix(".json").read_text())
    rows = list(csv.DictReader(io.StringIO(path.with_suffix(".csv").read_text())))
    assert told["lines"][0]["value"] == float(rows[0]["value"]) == 90 and rows[0]["flava"] == "92.87"
    assert told["failed"] == {"dtd": "files of the data set are absent: dtd.tar"} and told["absent"] == ["mnist"]
    text = path.read_text()
    assert "- dtd failed: files of the data set are absent: dtd.tar" in text and "absent: mnist" in text
