"""Step times of the peers and of our recipe, measured in turns on the same machine, and the steps of equal time."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import vltk
from benchmarks.peers.training import Trainer
from vltk.data.dataset import data_root
from vltk.errors import VltkError
from vltk.recipe import Recipe, Stage, load
from vltk.report.history import Row, read_lines

Pace = dict[str, float]  # name -> seconds a step


def calibrate(trainers: dict[str, Trainer], recipe: str | None, steps: int, rounds: int) -> tuple[Pace, float | None]:
    """Seconds a step of each peer (median of all), and minutes of training of the whole recipe (median of rounds)."""
    for trainer in trainers.values():
        trainer.step(0.0)  # the first step allocates
    times: dict[str, list[float]] = defaultdict(list)
    ours: list[float] = []
    for _ in range(rounds):
        for name, trainer in trainers.items():
            times[name] += [_timed_step(trainer) for _ in range(steps)]
        if recipe:
            ours.append(recipe_minutes(load(recipe), steps))
    return {name: statistics.median(t) for name, t in times.items()}, statistics.median(ours) if ours else None


def recipe_minutes(recipe: Recipe, steps: int) -> float:
    """Minutes that all stages would train, from a short run of each in a throw-away folder."""
    options = [f"stages.{name}.{key}" for name, stage in recipe.stages.items() for key in _short(stage, steps)]
    command = [sys.executable, "-P", "-m", "vltk", "train", str(Path(recipe.path).resolve()), *options]
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"VLTK_DATA": str(data_root().resolve()), "PYTHONPATH": _imports()}
        done = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
        if done.returncode:
            raise VltkError(f"{' '.join(command)}: ended with {done.returncode}; what it said stands above")
        runs = Path(folder) / "runs"
        logs = {name: next(runs.glob(f"*/{name}/metrics.jsonl")) for name in recipe.stages}
        return sum(stage_seconds(stage, read_lines(logs[name]).rows) for name, stage in recipe.stages.items()) / 60


def stage_seconds(stage: Stage, lines: list[Row]) -> float:
    """Seconds of a whole stage: of each stream, its mean step (the first aside) times its share of the steps."""
    total = sum(stream.weight for stream in stage.streams.values())
    spent: dict[str, list[float]] = defaultdict(list)
    for before, line in pairwise(lines):
        spent[line["stream"]].append(line["seconds"] - before["seconds"])
    missing = set(stage.streams) - set(spent)
    if missing:
        raise VltkError(f"no step of {', '.join(sorted(missing))} was timed: give more --calibrate-steps")
    return sum(
        statistics.fmean(spent[name]) * stage.steps * stream.weight / total for name, stream in stage.streams.items()
    )


def _imports() -> str:
    """PYTHONPATH by which another process, in any folder, imports the vltk that this one has."""
    given = os.environ.get("PYTHONPATH")
    return os.pathsep.join([str(Path(vltk.__file__).resolve().parents[1]), *([given] if given else [])])


def _short(stage: Stage, steps: int) -> list[str]:
    """Overrides for `steps` steps of each stream."""
    turns = [f"streams.{name}.weight=1" for name in stage.streams]
    return [f"steps={steps * len(turns)}", "log_every=1", "evaluate=null", "optimizer.warmup=0", *turns]


def _timed_step(trainer: Trainer) -> float:
    start = time.perf_counter()
    trainer.step(0.5)
    return time.perf_counter() - start
