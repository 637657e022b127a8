"""The figures of the table, against sums done by hand; what is missing is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.unit.sweep.conftest import Write
from vltk.identity import identity
from vltk.sweep import table
from vltk.sweep.load import load
from vltk.sweep.plan import Plan, Run, plan


def done(run: Run, rows: list[tuple[int, str, float]], weights_step: int = 30) -> None:
    """A run as training leaves it; rows: step, metric, value of the task `dev` of the last stage."""
    for name, stage in run.recipe.stages.items():
        folder = run.stage(name)
        folder.path.mkdir(parents=True)
        folder.note(status="finished", weights_step=weights_step, identity=identity(stage, {}, {}))
    said = [{"task": "dev", "metric": metric, "value": value, "step": step, "seed": 0} for step, metric, value in rows]
    (run.stage("second").path / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in said))


def finished(path: Path, values: dict[str, list[float]], *overrides: str) -> Plan:
    """A plan whose runs have these R@1 at step 30, and twice as much R@10 at step 40."""
    found = plan(load(path, overrides))
    left = {variant: list(given) for variant, given in values.items()}
    for run in found.runs:
        if left[run.variant]:
            value = left[run.variant].pop(0)
            rows = [(30, "text_to_image R@1", value), (30, "image_to_text R@10", 99.0), (40, "text_to_image R@1", 0.0)]
            done(run, [*rows, (40, "image_to_text R@10", 2 * value)])
    return found


def figures(found: Plan) -> dict[str, Any]:
    table.write(found, {"fresh-0": "no disk"})
    read: dict[str, Any] = json.loads(Path("runs/starts/table.json").read_text())
    return read


class TestFigures:
    def test_mean_and_spread_over_seeds(self, write: Write) -> None:
        """10, 14, 12: mean 12, sd 2; the differences 1, 5, 3: mean 3, se 2 / sqrt(3), t(2, 97.5 %) = 4.3027."""
        read = figures(finished(write(), {"plain": [10, 14, 12], "fresh": [11, 19, 15]}, "seeds=[0, 1, 2]"))
        plain, fresh = (read["variants"][name]["R@1"] for name in ("plain", "fresh"))
        assert plain["values"] == {"0": 10, "1": 14, "2": 12}
        assert (plain["n"], plain["mean"], plain["sd"]) == (3, 12, pytest.approx(2))
        assert plain["difference"] is None
        assert (fresh["difference"]["n"], fresh["difference"]["mean"]) == (3, 3)
        assert fresh["difference"]["se"] == pytest.approx(2 / 3**0.5)
        low, high = fresh["difference"]["interval"]
        assert (low, high) == (pytest.approx(-1.96828, abs=1e-5), pytest.approx(7.96828, abs=1e-5))
        assert read["variants"]["plain"]["R@10"]["values"] == {"0": 20, "1": 28, "2": 24}  # at: last
        assert read["runs"]["fresh-0"] == {"variant": "fresh", "seed": 0, "trained": True, "error": "no disk"}

    def test_the_difference_is_taken_seed_by_seed(self, write: Write) -> None:
        """Seed 1 of the baseline is missing: one pair is left, which has no spread."""
        found = finished(write(), {"plain": [10], "fresh": [11, 99]})
        text = table.markdown(table.write(found, {}))
        assert "| plain | 10.00 (n 1 of 2) | 20.00 (n 1 of 2) |" in text
        assert "| fresh | 55.00 ± 62.23 (n 2) |" in text
        assert "| fresh | +1.00 (n 1) | +2.00 (n 1) |" in text
        assert Path("runs/starts/table.md").read_text() == text

    def test_nothing_yet(self, write: Write) -> None:
        summary = table.summarise(plan(load(write())))
        assert "| plain | (n 0 of 2) | (n 0 of 2) |" in table.markdown(summary)
        with (console := Console(width=120)).capture() as said:
            console.print(table.printed(summary))
        assert "below it the difference to plain" in " ".join(said.get().split())

    def test_the_best_of_all_evaluations(self, write: Write) -> None:
        path = write("R@1: dev text_to_image R@1", "R@1: {metric: dev text_to_image R@1, at: best}")
        found = plan(load(path, ["measure.rank={metric: dev text_to_image median rank, at: best}"]))
        recall, rank = "text_to_image R@1", "text_to_image median rank"
        run = found.runs[0]
        done(run, [(10, recall, 4), (20, recall, 7), (40, recall, 5), (10, rank, 9), (20, rank, 3), (40, rank, 5)])
        assert table.summarise(found).values["plain"] == {"R@1": {0: 7}, "R@10": {}, "rank": {0: 3}}

    def test_a_stage_of_another_recipe_does_not_count(self, write: Write) -> None:
        finished(write(), {"plain": [10, 14], "fresh": [11, 19]})
        values = table.summarise(plan(load(write(), ["variants.fresh.optimizer={lr: 1e-5}"]))).values
        assert (values["plain"]["R@1"], values["fresh"]["R@1"]) == ({0: 10, 1: 14}, {})

    def test_a_stage_that_seeds_share_counts_once(self, write: Write) -> None:
        """Three equal figures of one training are no spread."""
        path = write("R@1: dev", "first: {metric: dev text_to_image R@1, stage: first}\n  R@1: dev")
        found = plan(load(path))
        for run in found.runs:
            done(run, [(30, "text_to_image R@1", 10.0 + run.seed)])
            if "first" in run.recipe.stages:
                row = {"task": "dev", "metric": "text_to_image R@1", "value": 5, "step": 30, "seed": 0}
                (run.stage("first").path / "results.jsonl").write_text(json.dumps(row) + "\n")
        summary = table.summarise(found)
        assert summary.values["plain"]["first"] == {0: 5} and summary.values["fresh"]["first"] == {}
        assert summary.values["plain"]["R@1"] == {0: 10, 1: 11}
