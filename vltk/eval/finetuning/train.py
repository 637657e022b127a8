"""Trains a fine-tuning in a run folder of its own below the run under evaluation, to its end or on from where it was.

The folder is RUN/finetune/DATA-BUDGET-SEED-IDENTITY. The last part stands for all that decides the result, so that
other options, other data or other weights never meet what is there. It is a run as any other, and evaluated as one.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from vltk import dist
from vltk.errors import VltkError
from vltk.eval import results
from vltk.eval.finetuning.plan import Plan
from vltk.eval.finetuning.score import outputs
from vltk.eval.finetuning.stage import DEV, source_name
from vltk.eval.finetuning.target import Target
from vltk.eval.finetuning.trainable import Trainable
from vltk.eval.results import Row, Score
from vltk.identity import digest, identity
from vltk.log import say
from vltk.recipe import Stage
from vltk.run import RUNS, RunFolder, Source, Trained, load
from vltk.train.folder import noted, opened
from vltk.train.loop import train as run_loop
from vltk.train.setup import build

if TYPE_CHECKING:
    from vltk.eval.features import Samples

FOLDER = "finetune"
BATCH = 64  # samples, of an evaluation


def finetuned(trained: Trained, stage: Stage, plan: Plan, data: Trainable, dev: Samples | None) -> tuple[Trained, Path]:
    """The fine-tuned model with its chosen weights, and its folder. `dev` chooses them, where the plan says so.

    Raises VltkError, and Stopped after Ctrl-C or SIGTERM once the state is saved.
    """
    source = trained.source
    if source is None:
        raise VltkError(f"{trained.name} is still in training: fine-tune a run that has ended, or RUN@STEP")
    facts = identity(stage, _digests(trained, data, dev), _origin(trained, stage))
    seed = f"seed{stage.seed}"
    folder = RunFolder(_home(source) / FOLDER / "-".join([*_words(plan), seed, digest(facts)[:8]]))
    with folder.locked():
        if folder.facts().get("status") != "finished":
            _train(trained, stage, folder, facts, data, dev)
        else:
            say(f"{folder.path}: finished before")
    shutil.rmtree(folder.checkpoints, ignore_errors=True)  # the finished weights are all that is read from now on
    result = load(folder)
    result.model.to(dist.device())
    return result, folder.path


def _home(source: Source) -> Path:
    """Of a run its own folder; of a Hugging Face folder, which may be read-only, one of its name below ./runs."""
    return source.path if isinstance(source, RunFolder) else RUNS / source.name / "hf"


def _train(
    trained: Trained, stage: Stage, folder: RunFolder, facts: dict[str, Any], data: Trainable, dev: Samples | None
) -> None:
    sources = {value: trained.source for value in stage.init.values()}
    opened(folder, stage, trained.tokenizer, facts, order=0)
    with noted(folder, folder.path.name), _training():
        setup = build(folder.path.name, stage, folder, sources, open_data=lambda _: data)  # type: ignore[arg-type]
        if stage.init and not setup.first:
            _require_same(trained, setup.pretraining.model)
        run_loop(setup, None if dev is None else _judge(dev, data.target, folder.path / "results.jsonl", stage.seed))


@contextmanager
def _training() -> Iterator[None]:
    """Gradients inside an evaluation; and weights cast anew in every step: inside another autocast, as evaluations are,
    the copies of the first step would serve all others."""
    with torch.enable_grad(), torch.autocast(dist.device().type, enabled=False, cache_enabled=False):
        yield


def _judge(dev: Samples, target: Target, path: Path, seed: int) -> Callable[[Trained], list[Row]]:
    """Scores the model in training on `dev`, and writes that down in its folder."""

    def judge(now: Trained) -> list[Row]:
        from vltk.eval.run import undisturbed

        start = time.perf_counter()
        with undisturbed(now.model):
            found = target.metrics(outputs(now, dev, BATCH)[0], dev)
        facts = {"task": DEV, "seed": seed, "run": now.name, "step": now.step, "seconds": time.perf_counter() - start}
        scores = [Score(dev.split, name, value, len(dev), chance) for name, (value, chance) in found.items()]
        rows = [results.row(score, **facts) for score in scores]  # type: ignore[arg-type]
        results.append(path, rows)
        return rows

    return judge


def _require_same(trained: Trained, model: nn.Module) -> None:
    """Raises VltkError where the model starts from other weights than those under evaluation."""
    own = model.state_dict()
    for name, tensor in trained.model.state_dict().items():
        if name in own and own[name].shape == tensor.shape and not torch.equal(own[name].cpu(), tensor.cpu()):
            raise VltkError(
                f"{trained.name}: {name} is not as in {source_name(trained)}: it cannot be fine-tuned from there"
            )


def _digests(trained: Trained, data: Trainable, dev: Samples | None) -> dict[str, str]:
    found = {data.name: data.digest, "words": digest({"tokens": trained.tokenizer.tokens})}
    return found if dev is None else found | {f"{DEV} {dev.data}": digest({"samples": dev.fingerprint})}


def _origin(trained: Trained, stage: Stage) -> dict[str, str]:
    """The weights that the stage starts from, if it starts from any."""
    if not stage.init or trained.source is None:
        return {}
    return {source_name(trained): digest(trained.source.facts()["identity"] | {"step": trained.step})}


def _words(plan: Plan) -> list[str]:
    """`cola-short`: the data set and a budget that is not the full one."""
    name = plan.train.partition("?")[0].removeprefix("official/").replace("/", ".").removesuffix(".train")
    return [name, *([] if plan.budget == "full" else [plan.budget])]
