"""A few real steps of each stream on this device: how fast it is, and what memory is taken beside what is planned.

Each stage trains in a process of its own, in a folder that is thrown away, through the loader and the engine that
training has, twice over the same batches, of which the second time counts, with pictures decoded in both, and saves
beside its last steps; what it starts from are weights drawn at random, as they change neither times nor sizes. First
with few samples, for the memory that no plan knows (libraries, kernels, allocator); then with its micro-batch.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from vltk import dist
from vltk.data.pixels import BUDGET
from vltk.data.stream import keep_decoded
from vltk.errors import VltkError
from vltk.needs import require_data
from vltk.plan.pace import Measured
from vltk.recipe import Recipe, Stage, load, plain
from vltk.run import RunFolder, Source
from vltk.train.accumulate import run_step
from vltk.train.optim import learning_rate
from vltk.train.pretraining import on_device
from vltk.train.recorder import memory_gb
from vltk.train.saving import Saver
from vltk.train.setup import Setup, build, pieces_of
from vltk.train.sources import named, own_stage, source
from vltk.train.weights import write

FEW = 8  # samples of the steps that tell the memory beside the plan
WARM, TIMED, BESIDE = 2, 5, 1  # steps of each stream: not timed, timed, and beside the writing of a checkpoint
PATIENCE = 3600  # seconds


@dataclass(frozen=True)
class Run:
    """What the steps of a stage took: seconds by stream of forward and backward and of the step's end (medians), with
    so many samples each; bytes at the most, and of decoded images that the loader keeps."""

    samples: dict[str, int]
    forward_backward: dict[str, float]
    end: dict[str, float]
    peak: int
    pixels: int


@dataclass(frozen=True)
class Calibration:
    """By stage: the steps with few samples and those with the recipe's micro-batch."""

    few: dict[str, Run]
    usual: dict[str, Run]

    @property
    def paces(self) -> dict[tuple[str, str], Measured]:
        return {
            (stage, stream): Measured(run.forward_backward[stream] / run.samples[stream], run.end[stream])
            for stage, run in self.usual.items()
            for stream in run.samples
        }


def calibrate(recipe: Recipe, stages: Sequence[str] = ()) -> Calibration:
    """Measures these stages, by default all. Raises Missing where data is not there, VltkError where steps fail."""
    require_data(recipe)
    found: dict[bool, dict[str, Run]] = {True: {}, False: {}}
    for stage in stages or recipe.stages:
        for few in (True, False):
            found[few][stage] = _measured(recipe, stage, few)
    return Calibration(found[True], found[False])


def _measured(recipe: Recipe, stage: str, few: bool) -> Run:
    command = [sys.executable, "-m", "vltk.plan.calibrate", str(recipe.path), stage, str(int(few)), *recipe.overrides]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    if done.returncode:
        last = (done.stderr.strip() or "no message").splitlines()[-1][:300]
        raise VltkError(f"stage {stage} cannot be calibrated on this device: {last}")
    return Run(**json.loads(done.stdout.splitlines()[-1]))


def short(stage: Stage, few: bool) -> Stage:
    """The stage with some steps of each stream, each of one micro-batch on one device."""
    most = FEW if few else stage.micro_batch
    streams = {
        name: stream.model_copy(update={"weight": 1.0, "batch_size": min(most or stream.batch_size, stream.batch_size)})
        for name, stream in stage.streams.items()
    }
    steps = (WARM + TIMED + BESIDE) * len(streams)
    return stage.model_copy(update={"streams": streams, "steps": steps})


def steps_of(recipe: Recipe, name: str, stage: Stage, folder: Path) -> Run:
    """Trains the stage in `folder`, which is left with random weights of what it starts from."""
    sources: dict[str, Source] = {value: stand_in(recipe, value, folder) for value in named(stage)}
    own = RunFolder(folder / "own")
    own.path.mkdir()
    setup = build(name, stage, own, sources)
    seconds: dict[str, list[tuple[float, float]]] = {stream: [] for stream in stage.streams}
    saved_at = stage.steps - BESIDE * len(stage.streams)
    for step, stream, batches in setup.loader:  # once before they count: a run under way has met most lengths of text
        _step(setup, step, stream, batches)
    keep_decoded(setup.loader.streams, BUDGET)
    with Saver(own.checkpoints, stage.checkpoint) as saver:
        for step, stream, batches in setup.loader:
            if step == saved_at:
                saver.save(step, pieces_of(setup), {"step": step})
            took = _step(setup, step, stream, batches)
            if step < saved_at:
                seconds[stream].append(took)
    kept = next(iter(setup.loader.streams.values())).pixels.held
    timed = {stream: pairs[WARM:] or pairs for stream, pairs in seconds.items()}
    return Run(
        samples={stream: options.batch_size for stream, options in stage.streams.items()},
        forward_backward={stream: _median([pair[0] for pair in pairs]) for stream, pairs in timed.items()},
        end={stream: _median([pair[1] for pair in pairs]) for stream, pairs in timed.items()},
        peak=int(memory_gb() * 2**30),
        pixels=kept,
    )


def _step(setup: Setup, step: int, stream: str, batches: Sequence[Any]) -> tuple[float, float]:
    """Seconds of forward and backward, and of what ends a step."""
    stage, engine = setup.stage, setup.engine
    start = _now()
    inputs = [on_device(batch.tensors, engine.device) for batch in batches]
    record = run_step(engine, setup.pretraining, stream, inputs, step, stage.seed)
    middle = _now()
    engine.step(learning_rate(stage.optimizer, step, stage.steps), stream, step)
    setup.pretraining.after_step(engine, stream, step, record.kept)
    return middle - start, _now() - middle


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def _median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]


def stand_in(recipe: Recipe, value: str, folder: Path) -> Source:
    """A run of an earlier stage with random weights; runs and folders that are no stage are what they are."""
    import yaml

    own = own_stage(recipe, value)
    if own is None:
        return source(recipe, value)
    run = RunFolder(folder / own)
    if not run.recipe.exists():
        run.path.mkdir(parents=True)
        run.recipe.write_text(yaml.safe_dump(plain(recipe.stages[own]), sort_keys=False))
        write(dict(recipe.stages[own].model.build().state_dict()), run.weights)
        run.note(status="finished")
    return run


def main(path: str, name: str, few: str, *overrides: str) -> None:
    """Prints the Run of one stage as the last line."""
    import vltk.pipeline  # noqa: F401  what training has in memory too

    recipe = load(path, overrides)
    dist.start()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(asdict(steps_of(recipe, name, short(recipe.stages[name], bool(int(few))), Path(folder)))))


if __name__ == "__main__":
    main(*sys.argv[1:])
