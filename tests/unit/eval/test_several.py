"""Several runs in one table: a column each; checkpoints of one run are told apart by their steps."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.unit.eval.test_table import probe
from vltk.eval.compare import contrasts
from vltk.eval.evaluation import Evaluation
from vltk.eval.several import Outcome
from vltk.eval.sources import Library
from vltk.eval.table import Table, write


def named(found: Evaluation, run: str, step: int) -> Evaluation:
    return Evaluation(found.path, {**found.content, "run": run, "step": step})


def outcome(*runs: Sequence[Evaluation]) -> Outcome:
    tables = [Table.of(one, "flava") for one in runs]
    return Outcome("tasks", runs, tables, contrasts(runs), Library())


@pytest.fixture
def two(tmp_path: Path) -> Outcome:
    """mnist by both, cifar10 by the first, sun397 by the second one."""
    first = [probe(tmp_path / "a", "mnist", 380), probe(tmp_path / "a", "cifar10", 300)]
    second = [probe(tmp_path / "b", "mnist", 360), probe(tmp_path / "b", "sun397", 100, limit=400)]
    return outcome([named(one, "one", 10) for one in first], [named(one, "two", 20) for one in second])


def test_a_column_a_run(two: Outcome) -> None:
    made = two.sheet()
    assert made.headings[:4] == ["task", "metric", "one", "two"]
    rows = {row[0]: row for row in made.rows}
    assert list(rows) == ["mnist", "cifar10", "sun397", "average vision"]
    assert rows["mnist"][2].startswith("95.00 (") and rows["mnist"][3].startswith("90.00 (")
    assert rows["cifar10"][3] == "" and rows["sun397"][2] == ""
    assert rows["sun397"][-1] == "limit 400" and "82.17≠" in rows["sun397"]
    assert rows["average vision"][2].endswith(", 2 of 22")


def test_checkpoints_of_one_run_are_called_by_their_steps(tmp_path: Path) -> None:
    found = [[named(probe(tmp_path / str(step), "mnist", step), "one", step)] for step in (100, 200)]
    made = outcome(*found, [named(probe(tmp_path / "x", "mnist", 150), "two", 5)])
    assert made.labels == ["one@100", "one@200", "two"]
    assert [row.run for row in made.contrasts if row.metric == "accuracy"] == ["one@200", "two"]
    assert next(row for row in made.contrasts if row.run == "one@200").value == 25


def test_a_note_of_one_run_names_it(tmp_path: Path) -> None:
    seeds = {"one": {"0": 90.0, "1": 95.0, "2": 91.0}, "two": {"0": 95.0, "1": 95.0, "2": 95.5}}
    found = [[named(probe(tmp_path / r, "mnist", 380, limit=400, seeds=own), r, 1)] for r, own in seeds.items()]
    (row, _) = outcome(*found).sheet().rows
    assert row[-1] == "limit 400; one: median of 3, spread 5.0; two: median of 3, spread 0.5"


def test_the_files_hold_all_runs(two: Outcome, tmp_path: Path) -> None:
    path = write(two.tables, two.sheet(), tmp_path / "out", "table")
    rows = list(csv.DictReader(path.with_suffix(".csv").open()))
    assert [(row["run"], row["step"], row["task"], row["value"]) for row in rows] == [
        ("one", "10", "mnist", "95.0"),
        ("one", "10", "cifar10", "75.0"),
        ("one", "10", "average vision", "85.0"),
        ("two", "20", "mnist", "90.0"),
        ("two", "20", "sun397", "25.0"),
        ("two", "20", "average vision", "57.5"),
    ]
    assert (rows[2]["metric"], rows[2]["flava comparable"]) == ("2 of 22", "True") and float(rows[2]["flava"]) > 90
    assert [table["run"] for table in json.loads(path.with_suffix(".json").read_text())] == ["one", "two"]
    assert "\\toprule" in path.with_suffix(".tex").read_text() and "| mnist |" in path.read_text()
