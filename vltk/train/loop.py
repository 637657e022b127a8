"""The one training loop: every stage of every recipe, on every engine."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from vltk import checkpoint, dist
from vltk.errors import VltkError
from vltk.log import JsonLines, Monitor, say
from vltk.run import Trained
from vltk.train import best
from vltk.train.accumulate import Record, run_step
from vltk.train.health import Health
from vltk.train.optim import learning_rate, weight_decay
from vltk.train.pretraining import on_device
from vltk.train.recorder import Recorder
from vltk.train.saving import Saver
from vltk.train.setup import Setup, pieces_of
from vltk.train.signals import Signals, Stopped
from vltk.train.together import on_main
from vltk.train.weights import keep_best, write_final

Rows = list[dict[str, Any]]
Evaluator = Callable[[Trained], Rows]


def train(setup: Setup, evaluator: Evaluator | None = None) -> None:
    """Trains from the newest good checkpoint to the last step, and writes the final weights.

    What is due after a step happens in this order: log, save, stop, evaluate. A checkpoint closes the window that is
    logged and knows nothing of the evaluation behind it, so a run that goes on from there begins with that evaluation.
    evaluator: scores the model, and writes down what it found.
    Raises Stopped after Ctrl-C or SIGTERM, once the state is saved; VltkError when a loss is no longer finite.
    """
    stage, engine = setup.stage, setup.engine
    recorder, metrics = Recorder(setup.seconds), JsonLines(setup.folder.path / "metrics.jsonl")
    health = Health(setup.name, setup.pretraining)
    saver = Saver(setup.folder.checkpoints, stage.checkpoint, setup.wanted, partial(_saved, setup))
    with Signals() as signals, Monitor(setup.name, stage.steps, setup.first) as monitor, saver:
        if setup.first:
            _evaluate(setup, evaluator, setup.first)
        for step, stream, batches in setup.loader:
            lr = learning_rate(stage.optimizer, step, stage.steps)
            inputs = [on_device(batch.tensors, engine.device) for batch in batches]
            record = run_step(engine, setup.pretraining, stream, inputs, step, stage.seed)
            record.note(engine.scale.metrics())
            _check_losses(setup, record, step, stream)
            norm = engine.step(lr, stream, step, weight_decay(stage.optimizer, step, stage.steps))
            if not engine.scale.overflowed:
                _check_norm(setup, norm, step, stream)
                record.note(setup.pretraining.after_step(engine, stream, step, record.kept))
            saver.look()
            done = step + 1
            recorder.add(done, stream, record, stage.streams[stream].batch_size, norm, engine.scale.overflowed)
            stop = signals.asked()
            save = stop or done in setup.wanted or _due(stage.checkpoint.every, done, stage.steps)
            if save or done % stage.log_every == 0:
                _log(setup, recorder, metrics, monitor, health, done, lr)
            if save:
                _save(setup, saver, recorder, done)
            if stop:
                saver.finish()
                raise Stopped(stop)
            _evaluate(setup, evaluator, done)
    write_final(setup)


def _due(every: int | None, done: int, steps: int) -> bool:
    return done == steps or bool(every and done % every == 0)


def _log(
    setup: Setup, recorder: Recorder, metrics: JsonLines, monitor: Monitor, health: Health, done: int, lr: float
) -> None:
    pace = (recorder.seconds - recorder.before) / (done - setup.first)
    for row in recorder.rows(done, lr, setup.loader.wait_seconds):
        if dist.is_main():
            metrics.write(row)
            health.look(row)
            monitor.show(row, pace * (setup.stage.steps - done))


def _evaluate(setup: Setup, evaluator: Evaluator | None, done: int) -> None:
    """Where it is due."""
    if evaluator and _due(setup.stage.evaluate.every, done, setup.stage.steps):
        with setup.engine.gathered():
            on_main(lambda: _score(setup, evaluator, done))


def _score(setup: Setup, evaluator: Evaluator, done: int) -> None:
    rows = evaluator(setup.trained(done))
    for row in rows:
        say(f"{setup.name} {done}  {row['task']}: {row['metric']} {row['value']:.4f}  n {row['n']}")
    keep_best(setup, rows, done)


def _save(setup: Setup, saver: Saver, recorder: Recorder, done: int) -> None:
    facts = {"step": done, "seconds": recorder.seconds, "best": setup.best, "result": setup.pretraining.result}
    facts["loss_scale"] = setup.engine.scale.facts()
    saver.save(done, pieces_of(setup), facts)


def _saved(setup: Setup, done: int) -> None:
    """What follows a checkpoint that is whole, on the main process."""
    folder, keep = setup.folder, setup.stage.checkpoint.keep
    best.tidy(folder.path, oldest=checkpoint.steps(folder.checkpoints)[:keep][-1])
    folder.note(step=done)


def _check_losses(setup: Setup, record: Record, step: int, stream: str) -> None:
    """Before the optimizer changes anything."""
    names = list(record.losses)
    whole = dist.sum_over_ranks(torch.stack([record.losses[name].float() for name in names]))
    finite = whole.isfinite().tolist()
    if not all(finite):
        bad = ", ".join(name for name, good in zip(names, finite, strict=True) if not good)
        raise _not_finite(setup, step, stream, f"the loss of {bad} is")


def _check_norm(setup: Setup, norm: float, step: int, stream: str) -> None:
    if not math.isfinite(norm):
        raise _not_finite(setup, step, stream, "the losses are finite, but their gradient is")


def _not_finite(setup: Setup, step: int, stream: str, what: str) -> VltkError:
    newest = checkpoint.newest_good(setup.folder.checkpoints)
    kept = f"the checkpoint of step {newest.step} is kept" if newest else "no checkpoint was written yet"
    return VltkError(
        f"{setup.name}, step {step}, stream {stream}: {what} not a finite number; {kept}. "
        "Lower optimizer.lr, lengthen optimizer.warmup, or set precision=fp32, under another name (name=OTHER) or with "
        "--redo; the same command would end here again"
    )
