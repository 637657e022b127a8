"""The one training loop: every stage of every recipe, on every engine."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import Any

from vltk import checkpoint, dist, pulse
from vltk.log import JsonLines, Monitor, say
from vltk.run import Trained
from vltk.train import best
from vltk.train.accumulate import run_step
from vltk.train.faults import RollBack
from vltk.train.health import Health
from vltk.train.optim import learning_rate, weight_decay
from vltk.train.pretraining import on_device
from vltk.train.recorder import Recorder
from vltk.train.saving import Saver
from vltk.train.setup import Setup, go_back, pieces_of
from vltk.train.signals import Signals, Stopped
from vltk.train.together import on_main
from vltk.train.utilisation import Utilisation
from vltk.train.weights import keep_best, write_final

Rows = list[dict[str, Any]]
Evaluator = Callable[[Trained], Rows]


def train(setup: Setup, evaluator: Evaluator | None = None) -> None:
    """Trains from the newest good checkpoint to the last step, and writes the final weights.

    What is due after a step happens in this order: log, save, stop, evaluate. A checkpoint closes the window that is
    logged and knows nothing of the evaluation behind it, so a run that goes on from there begins with that evaluation.
    evaluator: scores the model, and writes down what it found.
    Raises Stopped after Ctrl-C or SIGTERM, once the state is saved; VltkError when losses are no longer finite.
    """
    while not _trained(setup, evaluator):
        go_back(setup)
    write_final(setup)


def _trained(setup: Setup, evaluator: Evaluator | None) -> bool:
    """Whether the last step was reached; False where the run is to go back to its last good checkpoint."""
    try:
        _train(setup, evaluator)
    except RollBack:
        return False
    finally:
        pulse.rest()
    return True


def _train(setup: Setup, evaluator: Evaluator | None) -> None:
    stage, engine = setup.stage, setup.engine
    utilisation = Utilisation(engine.device, stage.precision)
    recorder, metrics = Recorder(setup.seconds, utilisation), JsonLines(setup.folder.path / "metrics.jsonl")
    health = Health(setup.name, setup.pretraining, since=max(stage.optimizer.warmup, stage.steps // 10))
    saver = Saver(setup.folder.checkpoints, stage.checkpoint, setup.wanted, partial(_saved, setup))
    with Signals() as signals, Monitor(setup.name, stage.steps, setup.first) as monitor, saver:
        if setup.first:
            _evaluate(setup, evaluator, setup.first)
        for step, stream, batches in setup.loader:
            pulse.step(step, stage.faults.hang)
            lr = learning_rate(stage.optimizer, step, stage.steps)
            inputs = [on_device(batch.tensors, engine.device) for batch in batches]
            with utilisation.counting(stream):
                record = run_step(engine, setup.pretraining, stream, inputs, step, stage.seed)
            record.note(engine.scale.metrics())
            norm = engine.step(lr, stream, step, weight_decay(stage.optimizer, step, stage.steps))
            overflowed = engine.scale.overflowed
            done = step + 1
            if setup.watch.passes(step, stream, record, norm, overflowed, [key for b in batches for key in b.keys]):
                if not overflowed:
                    record.note(setup.pretraining.after_step(engine, stream, step, record.kept))
                recorder.add(done, stream, record, stage.streams[stream].batch_size, norm, overflowed)
            elif setup.watch.is_full:
                saver.finish()
                setup.watch.give_up()
            saver.look()
            stop = signals.asked()
            save = stop or done in setup.wanted or _due(stage.checkpoint.every, done, stage.steps)
            if save or done % stage.log_every == 0:
                _log(setup, recorder, metrics, monitor, health, done, lr)
            if save and not _save(setup, saver, recorder, done) and not stop:
                setup.watch.ruined(done)
            if stop:
                saver.finish()
                raise Stopped(stop)
            _evaluate(setup, evaluator, done)


def _due(every: int | None, done: int, steps: int) -> bool:
    return done == steps or bool(every and done % every == 0)


def _log(
    setup: Setup, recorder: Recorder, metrics: JsonLines, monitor: Monitor, health: Health, done: int, lr: float
) -> None:
    pace = (recorder.seconds - recorder.before) / (done - setup.first)
    for row in recorder.rows(done, lr, setup.loader.wait_seconds):
        monitor.show(row, pace * (setup.stage.steps - done))
        if dist.is_main():
            metrics.write(row)
            health.look(row)


def _evaluate(setup: Setup, evaluator: Evaluator | None, done: int) -> None:
    """Where it is due."""
    if evaluator and _due(setup.stage.evaluate.every, done, setup.stage.steps):
        with setup.engine.gathered():
            on_main(lambda: _score(setup, evaluator, done))


def _score(setup: Setup, evaluator: Evaluator, done: int) -> None:
    rows = evaluator(setup.trained(done))
    for (task, n), own in groupby(rows, itemgetter("task", "n")):
        values = "  ".join(f"{row['metric']} {row['value']:.4f}" for row in own)
        say(f"{setup.name} {done}  {task}: {values}  n {n}")
    keep_best(setup, rows, done)


def _save(setup: Setup, saver: Saver, recorder: Recorder, done: int) -> bool:
    facts = {"step": done, "seconds": recorder.seconds, "best": setup.best, "result": setup.pretraining.result}
    facts |= setup.watch.facts() | {"loss_scale": setup.engine.scale.facts()}
    return saver.save(done, pieces_of(setup), facts)


def _saved(setup: Setup, done: int) -> None:
    """What follows a checkpoint that is whole, on the main process."""
    folder, keep = setup.folder, setup.stage.checkpoint.keep
    kept = [step for step in checkpoint.steps(folder.checkpoints) if step <= done][:keep]
    best.tidy(folder.path, oldest=kept[-1])
    folder.note(step=done)
