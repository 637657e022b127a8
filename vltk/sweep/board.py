"""What a sweep shows while it works: a live table on a terminal, elsewhere a line whenever a run's state changes."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.live import Live
from rich.table import Table

from vltk.log import console, say
from vltk.sweep.plan import Plan, Run

TAIL = 1 << 14  # bytes of metrics.jsonl in which the last row is looked for


class Board:
    """The runs of a plan and their states: waiting, training, evaluating, finished, stopped, failed."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.states: dict[str, str] = {}
        self.live = Live(console=console, auto_refresh=False) if sys.stdout.isatty() else None

    def __enter__(self) -> Self:
        if self.live:
            self.live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live:
            self.live.__exit__(kind, error, trace)

    def show(self, states: Mapping[str, str]) -> None:
        """states: by run."""
        if self.live:
            self.live.update(self._table(states), refresh=True)
            return
        for run in self.plan.runs:
            state = states[run.name]
            if state not in ("waiting", self.states.get(run.name)):
                say(f"{run.name}: {state}")
        self.states = dict(states)

    def _table(self, states: Mapping[str, str]) -> Table:
        grid = Table(title=self.plan.sweep.name, title_justify="left", highlight=False)
        for heading in ("variant", "seed", "state", ""):
            grid.add_column(heading, overflow="fold")
        for run in self.plan.runs:
            state = states[run.name]
            grid.add_row(run.variant, str(run.seed), state, step(run) if state.startswith("training") else "")
        return grid


def training(run: Run) -> str:
    """`training image (stage 2 of 4)`."""
    stages = list(run.recipe.stages)
    unfinished = next((name for name in stages if not run.is_finished(name)), stages[-1])
    return f"training {unfinished} (stage {stages.index(unfinished) + 1} of {len(stages)})"


def step(run: Run) -> str:
    """How far the stage in training is: `step 120 of 300`."""
    stage = next((name for name in run.recipe.stages if not run.is_finished(name)), None)
    path = run.folder / (stage or "") / "metrics.jsonl"
    if stage is None or not path.is_file():
        return ""
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - TAIL, 0))
        lines = [line for line in file.read().splitlines(keepends=True) if line.endswith(b"\n")]
    return f"step {json.loads(lines[-1])['step']} of {run.recipe.stages[stage].steps}" if lines else ""
