"""Twenty steps of each objective at toy size on fixed batches, and what the loader makes of fixed data.

No codebook and no image decoder stands before the losses, so that they depend on no near tie and no other library
(but for `vqkd`, where the codebook is what is trained).
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch

from tests import tiny
from vltk.data.dataset import open_dataset
from vltk.data.stream import Stream
from vltk.data.text import Tokenizer
from vltk.parts import choose
from vltk.recipe import ImageOptions, Optimizer
from vltk.train.accumulate import run_step
from vltk.train.engines.torch import Torch
from vltk.train.optim import groups, learning_rate
from vltk.train.pretraining import Pretraining

STEPS = 20
OPTIONS = Optimizer(lr=2e-3, warmup=4, weight_decay=0.1)
OBJECTIVES = ("mim", "mlm", "itc", "itm", "mmm", "dvae", "code_usage", "dino", "vqkd", "classify", "regress", "vqa")
OBJECTIVES += ("itc_momentum", "itm_hard", "lm", "mlm_momentum")
TASKS = {"classify": "class", "regress": "score", "vqa": "answers"}  # what a sample of theirs is labelled with
TOKENIZER = {"dvae": {"temperature_steps": 10, "kl_steps": 10}, "code_usage": {}}
FOLDER = Path(__file__).parent

Curve = dict[str, list[float]]


def curve(objective: str) -> Curve:
    """The losses by name at each step, and the gradient norms."""
    whole = _pretraining(objective)
    reached = whole.reached("all", _batch(objective, 0))
    engine = Torch(whole, groups(whole, {"all": reached}, whole.starts), OPTIONS, "fp32")
    found: Curve = {}
    for step in range(STEPS):
        record = run_step(engine, whole, "all", [_batch(objective, step)], step, seed=0)
        norm = engine.step(learning_rate(OPTIONS, step, STEPS), "all", step)
        whole.after_step(engine, "all", step, record.kept)
        for name, value in [*record.losses.items(), ("gradient norm", torch.tensor(norm))]:
            found.setdefault(name, []).append(float(f"{float(value):.8g}"))
    return found


def _batch(objective: str, step: int) -> dict[str, torch.Tensor]:
    """One of three batches in turn, so that the losses fall; its images within [0, 1], as a dVAE wants them."""
    if objective in TASKS:
        return tiny.labelled(seed=step % 3, kind=TASKS[objective])
    batch = tiny.batch(matched=(1, 1, 0, 1, 1, 0), seed=step % 3)
    return batch | {"image": batch["image"].sigmoid()} | tiny.crops(seed=step % 3)


def _pretraining(objective: str) -> Pretraining:
    if objective == "dino":
        return tiny.dino(tiny.flava(text=None, fusion=None), STEPS)
    if objective in tiny.GROUPED:
        model = tiny.albef() if objective in tiny.ALBEF[2:] else tiny.blip()
        return tiny.grouped(model, objective, steps=STEPS)
    if objective == "vqkd":
        return tiny.distilling()
    if objective in TASKS:
        return tiny.pretraining(tiny.finetuned(outputs=1 if objective == "regress" else 3), objective)
    return _tokenizer(objective) if objective in TOKENIZER else tiny.pretraining(tiny.flava(), objective)


def _tokenizer(objective: str) -> Pretraining:
    model = choose("models/codebooks", "dvae", width=8, blocks=1, groups=3, codes=16, code_width=8).build()
    part = choose("objectives", objective, **TOKENIZER[objective]).build(model=model)
    return Pretraining(tiny.randomised(model, seed=0, std=0.3).train(), {"all": {objective: part}})


def order() -> dict[str, Any]:
    """Of three steps on the stand-ins of `shapes`: which samples, which words and patches are hidden, which match."""
    itm, mmm = (
        choose("objectives", "itm").build(),
        choose("objectives", "mmm").build(model=tiny.flava(), codes=tiny.Cached()),
    )
    dataset = open_dataset("shapes/train")
    stream = Stream(
        [dataset],
        {**mmm.views, **itm.views},
        batch_size=8,
        image=ImageOptions(size=tiny.IMAGE),
        tokenizer=Tokenizer(dataset.folder.parent / "vocab.txt", 24),
    )
    steps = [stream.micro_batches(step)[0] for step in range(3)]
    hidden = ("matched", "text", "text_masked", "text_masked_at", "image_masked_at")
    return {
        "keys": [batch.keys for batch in steps],
        **{name: [_digest(batch.tensors[name]) for batch in steps] for name in hidden},
    }


def _digest(tensor: torch.Tensor) -> str:
    return hashlib.sha256(tensor.to(torch.int64).numpy().tobytes()).hexdigest()[:16]


def stored(name: str) -> Any:
    """What was stored by `python -m tests.golden.refresh`."""
    return json.loads((FOLDER / f"{name}.json").read_text())
