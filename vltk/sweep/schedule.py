"""Trains the runs of a sweep, several at a time: who may start, who waits for whom, who failed."""

from __future__ import annotations

import time

from vltk.errors import VltkError
from vltk.log import console, say
from vltk.run import RUNS, RunFolder
from vltk.sweep import measure, stale, table
from vltk.sweep.board import Board, training
from vltk.sweep.devices import slots
from vltk.sweep.job import LOG, Job
from vltk.sweep.plan import Plan, Run, join
from vltk.train.signals import Signals, Stopped

PAUSE = 1.0  # seconds between two looks at the processes


def train(plan: Plan, jobs: int | None = None, redo: bool = False) -> None:
    """Trains and measures what is not finished; the table is written after each run, and printed at the end.

    A run that fails leaves the others alone. Raises VltkError with every failure at the end, Stopped after Ctrl-C or
    SIGTERM, once all runs have saved.
    """
    with RunFolder(RUNS / plan.sweep.name).locked():
        stale.settle(plan, redo)
        schedule = _Schedule(plan, slots(jobs))
        with Signals() as signals, Board(plan) as board:
            board.show(schedule.states)
            while schedule.goes_on():
                if signals.received:
                    schedule.stop()
                schedule.look()
                board.show(schedule.states)
                time.sleep(PAUSE)
        summary = table.write(plan, schedule.errors)
        console.print(table.printed(summary))
        say(f"table: {RUNS / plan.sweep.name / 'table.md'}")
        if signals.received:
            say("stopped; the same command goes on from here")
            raise Stopped(signals.received)
        if schedule.errors:
            raise VltkError(_failures(plan, schedule.errors))


def _failures(plan: Plan, errors: dict[str, str]) -> str:
    lines = [f"  {name}: {error}" for name, error in errors.items()]
    where = RUNS / plan.sweep.name / "RUN" / LOG
    return "\n".join([f"{len(errors)} of {len(plan.runs)} runs failed; all they said is in {where}:", *lines])


class _Schedule:
    """States of all runs: those that are left, those at work (by slot), and why others failed."""

    def __init__(self, plan: Plan, slots: list[dict[str, str]]) -> None:
        self.plan, self.slots = plan, slots
        self.jobs: dict[int, Job] = {}
        self.errors: dict[str, str] = {}
        self.stopping = False
        self.states = {run.name: "waiting" for run in plan.runs}
        self.left = [run for run in plan.runs if not self._is_done(run)]
        self.states |= {run.name: "finished before" for run in plan.runs if run not in self.left}

    def goes_on(self) -> bool:
        return bool(self.jobs or (self.left and not self.stopping))

    def stop(self) -> None:
        """Asks every run to save and end, once; none starts any more."""
        if not self.stopping:
            self.stopping = True
            for job in self.jobs.values():
                job.stop()

    def look(self) -> None:
        """Takes note of what has ended, and starts what can start."""
        for slot, job in list(self.jobs.items()):
            code = job.poll()
            if code is None:
                self.states[job.run.name] = self._at(job.run)
            else:
                del self.jobs[slot]
                self._ended(job, code)
        for run in [] if self.stopping else list(self.left):
            free = next((slot for slot in range(len(self.slots)) if slot not in self.jobs), None)
            if free is None:
                return
            if self._may_start(run):
                self.left.remove(run)
                join(self.plan, run)
                self.jobs[free] = Job(self.plan.sweep, run, self.slots[free])

    def _is_done(self, run: Run) -> bool:
        return run.is_trained() and not measure.lacking(self.plan.sweep, run)

    def _at(self, run: Run) -> str:
        if not run.is_trained():
            return training(run)
        return "evaluating" if measure.lacking(self.plan.sweep, run) else "writing its report"

    def _ended(self, job: Job, code: int) -> None:
        if job.stopped:
            self.states[job.run.name] = "finished" if self._is_done(job.run) else "stopped"
        elif code == 0:
            self.states[job.run.name] = "finished"
        else:
            self._failed(job.run, job.error(code))
        table.write(self.plan, self.errors)

    def _failed(self, run: Run, error: str) -> None:
        self.errors[run.name] = error
        self.states[run.name] = f"failed: {error}"

    def _may_start(self, run: Run) -> bool:
        """Whether the stages that other runs train are finished, and no process of before is still at work in it."""
        for stage in run.recipe.stages:
            maker = self.plan.maker(run, stage)
            if maker is None or maker[0].is_finished(maker[1]):
                continue
            if maker[0].name in self.errors:
                self.left.remove(run)
                self._failed(run, f"its stage '{stage}' is {maker[0].name}/{maker[1]}, which failed")
            return False
        return not any(run.stage(stage).in_use() for stage in run.recipe.stages)
