"""The one training loop: every stage of every recipe, on every engine."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from vltk import checkpoint, dist
from vltk.errors import VltkError
from vltk.log import JsonLines, Monitor, say
from vltk.run import Trained
from vltk.train.accumulate import Record, run_step
from vltk.train.optim import learning_rate
from vltk.train.pretraining import on_device
from vltk.train.recorder import Recorder
from vltk.train.setup import Setup
from vltk.train.signals import Signals, Stopped
from vltk.train.together import on_main
from vltk.train.weights import keep_best, write_final

Rows = list[dict[str, Any]]
Evaluator = Callable[[Trained], Rows]


def train(setup: Setup, evaluator: Evaluator | None = None) -> None:
    """Trains from the newest good checkpoint to the last step, and writes the final weights.

    Raises Stopped after Ctrl-C or SIGTERM, once the state is saved; VltkError when a loss is no longer finite.
    """
    stage, engine = setup.stage, setup.engine
    recorder, metrics = Recorder(setup.seconds), JsonLines(setup.folder.path / "metrics.jsonl")
    with Signals() as signals, Monitor(setup.name, stage.steps, setup.first) as monitor:
        for step, stream, batches in setup.loader:
            lr = learning_rate(stage.optimizer, step, stage.steps)
            inputs = [on_device(batch.tensors, engine.device) for batch in batches]
            record = run_step(engine, setup.pretraining, stream, inputs, step, stage.seed)
            norm = engine.step(lr, stream)
            _check_finite(setup, record, norm, step, stream)
            done = step + 1
            recorder.add(stream, record, stage.streams[stream].batch_size, norm)
            stop = signals.asked()
            if done % stage.log_every == 0 or done == stage.steps or stop:
                _log(setup, recorder, metrics, monitor, done, lr)
            if evaluator and _due(stage.evaluate.every, done, stage.steps):
                _evaluate(setup, evaluator, done)
            if stop or _due(stage.checkpoint.every, done, stage.steps):
                _save(setup, recorder, done)
            if stop:
                raise Stopped(stop)
    write_final(setup)


def _due(every: int | None, done: int, steps: int) -> bool:
    return done == steps or bool(every and done % every == 0)


def _log(setup: Setup, recorder: Recorder, metrics: JsonLines, monitor: Monitor, done: int, lr: float) -> None:
    pace = (recorder.seconds - recorder.before) / (done - setup.first)
    for row in recorder.rows(done, lr, setup.loader.wait_seconds):
        if dist.is_main():
            metrics.write(row)
            monitor.show(row, pace * (setup.stage.steps - done))


def _evaluate(setup: Setup, evaluator: Evaluator, done: int) -> None:
    with setup.engine.gathered():
        on_main(lambda: _score(setup, evaluator, done))


def _score(setup: Setup, evaluator: Evaluator, done: int) -> None:
    rows = evaluator(setup.trained(done))
    for row in rows:
        say(f"{setup.name} {done}  {row['task']}: {row['metric']} {row['value']:.4f}  n {row['n']}")
    setup.results.extend(rows)
    keep_best(setup, rows, done)


def _save(setup: Setup, recorder: Recorder, done: int) -> None:
    state = setup.engine.state()
    facts = {"step": done, "seconds": recorder.seconds, "best": setup.best}
    on_main(lambda: checkpoint.save(setup.folder.checkpoints, done, state, facts, setup.stage.checkpoint.keep))
    on_main(lambda: setup.folder.note(step=done))


def _check_finite(setup: Setup, record: Record, norm: float, step: int, stream: str) -> None:
    if math.isfinite(norm):
        return
    bad = [name for name, loss in record.losses.items() if not torch.isfinite(dist.sum_over_ranks(loss))]
    what = f"the loss of {', '.join(bad)} is" if bad else "the losses are finite, but their gradient is"
    newest = checkpoint.newest_good(setup.folder.checkpoints)
    kept = f"the checkpoint of step {newest.step} is kept" if newest else "no checkpoint was written yet"
    raise VltkError(
        f"{setup.name}, step {step}, stream {stream}: {what} not a finite number; {kept}. "
        "Lower optimizer.lr, lengthen optimizer.warmup, or set precision=fp32, under another name (name=OTHER) or with "
        "--redo; the same command would end here again"
    )
