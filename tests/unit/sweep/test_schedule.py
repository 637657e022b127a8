"""Who waits for whom, and whose failure is whose."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.sweep.conftest import Write
from tests.unit.sweep.test_plan import finish
from vltk.sweep import schedule
from vltk.sweep.load import load
from vltk.sweep.plan import plan


class Job:
    """A run that goes on until `codes` has an exit code for it."""

    codes: dict[str, int] = {}

    def __init__(self, sweep: Any, run: Any, slot: Any) -> None:
        self.run, self.stopped = run, False

    def poll(self) -> int | None:
        return self.codes.get(self.run.name)

    def error(self, code: int) -> str:
        return f"ended with {code}"

    def stop(self) -> None:
        self.stopped = True


@pytest.fixture
def work(write: Write, monkeypatch: pytest.MonkeyPatch) -> schedule._Schedule:
    """Two seeds of two variants, three at a time; plain-0 and plain-1 share their first stage."""
    monkeypatch.setattr(schedule, "Job", Job)
    monkeypatch.setattr(Job, "codes", {})
    return schedule._Schedule(plan(load(write())), [{}, {}, {}])


def at_work(work: schedule._Schedule) -> list[str]:
    work.look()
    return sorted(job.run.name for job in work.jobs.values())


def test_a_run_waits_for_the_stage_that_another_trains(work: schedule._Schedule) -> None:
    assert at_work(work) == ["fresh-0", "fresh-1", "plain-0"]
    Job.codes["fresh-0"] = 0
    assert at_work(work) == ["fresh-1", "plain-0"]
    finish(work.plan.runs[0], "first")
    assert at_work(work) == ["fresh-1", "plain-0", "plain-1"]
    assert Path("runs/starts/plain-1/first").is_symlink()
    assert work.states["fresh-0"] == "finished" and not work.left


def test_a_stage_that_failed_is_not_tried_by_all(work: schedule._Schedule) -> None:
    at_work(work)
    Job.codes["plain-0"] = 1
    assert at_work(work) == ["fresh-0", "fresh-1"]
    assert work.errors == {
        "plain-0": "ended with 1", "plain-1": "its stage 'first' is plain-0/first, which failed",
    }  # fmt: skip
    assert Path("runs/starts/table.md").exists() and not work.left


def test_one_that_failed_later_gives_its_stage(work: schedule._Schedule) -> None:
    at_work(work)
    finish(work.plan.runs[0], "first")
    Job.codes["plain-0"] = 1
    assert "plain-1" in at_work(work) and list(work.errors) == ["plain-0"]


def test_stopping_starts_nothing_more(work: schedule._Schedule) -> None:
    at_work(work)
    work.stop()
    assert all(job.stopped for job in work.jobs.values())
    finish(work.plan.runs[0], "first")
    Job.codes |= {"fresh-0": 143, "fresh-1": 143, "plain-0": 143}
    assert at_work(work) == [] and not work.goes_on()
    assert (work.states["plain-0"], work.states["plain-1"], work.errors) == ("stopped", "waiting", {})


def test_a_folder_that_another_process_holds_is_waited_for(work: schedule._Schedule) -> None:
    with work.plan.runs[0].stage("first").locked():
        assert at_work(work) == ["fresh-0", "fresh-1"]
    assert at_work(work) == ["fresh-0", "fresh-1", "plain-0"]
