"""BLIP and ALBEF learn a small world whole: which text belongs to which image, and what to say of one never seen."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests import tiny
from vltk.models import inference
from vltk.models.tokens import Text
from vltk.recipe import Optimizer
from vltk.train.accumulate import run_step
from vltk.train.engines.torch import Torch
from vltk.train.optim import groups

THINGS, SIZE, STEPS, END = 24, 12, 160, 3
OPTIONS = Optimizer(lr=2e-3, weight_decay=0.01)
FAMILIES = {"blip": (tiny.blip, tiny.BLIP), "albef": (tiny.albef, tiny.ALBEF)}


def texts(things: Tensor) -> Tensor:
    """Two words each: one of six, one of four."""
    first = torch.full_like(things, 2)
    return torch.stack([first, 5 + things % 6, 12 + things // 6, torch.full_like(things, END)], dim=1)


def pairs(step: int) -> dict[str, Tensor]:
    """Twelve different things under noise, the first word of each hidden."""
    source = torch.Generator().manual_seed(step)
    pictures = torch.randn(THINGS, 3, tiny.IMAGE, tiny.IMAGE, generator=torch.Generator().manual_seed(99))
    things = torch.randperm(THINGS, generator=source)[:SIZE]
    ids, hidden = texts(things), torch.zeros(SIZE, 4, dtype=torch.bool)
    hidden[:, 1] = True
    return {
        "image": pictures[things] + 0.5 * torch.randn(SIZE, 3, tiny.IMAGE, tiny.IMAGE, generator=source),
        "text": ids,
        "text_length": torch.full((SIZE,), 4),
        "text_masked": ids.masked_fill(hidden, 4),
        "text_masked_at": hidden,
        "image_id": things,
        "image_lot": torch.rand(SIZE, generator=source, dtype=torch.float64),
        "text_lot": torch.rand(SIZE, generator=source, dtype=torch.float64),
    }


@pytest.fixture(scope="module", params=FAMILIES)
def trained(request: pytest.FixtureRequest) -> tuple[str, Any, dict[str, float]]:
    """The family, its model, and its losses in the last steps."""
    make, names = FAMILIES[request.param]
    model = tiny.randomised(make(), seed=0, std=0.12)
    contrast = {"among": SIZE, "queue": 24, "alpha_steps": 200, "momentum": 0.95, "same_image": True}
    options = {"itc_momentum": contrast, "itm_hard": {"among": SIZE}, "mlm_momentum": {"momentum": 0.95}}
    pretraining = tiny.grouped(model, *names, steps=STEPS, **options).train()
    engine = Torch(pretraining, groups(pretraining, {"all": pretraining.reached("all", pairs(0))}), OPTIONS, "fp32")
    pretraining.follow(engine)
    for step in range(STEPS):
        record = run_step(engine, pretraining, "all", [pairs(step)], step, seed=0)
        engine.step(OPTIONS.lr * min(1, (step + 1) / 20), "all", step)
        pretraining.after_step(engine, "all", step, record.kept)
    return request.param, model.eval(), {name: float(loss) for name, loss in record.losses.items()}


def test_every_loss_falls_far_below_chance(trained: Any) -> None:
    family, _, losses = trained
    assert losses["itm"] < 0.3 < 0.6365 and losses["itc"] < 1.0
    assert losses["lm"] < 0.9 if family == "blip" else losses["mlm"] < 0.5


def test_the_matching_head_knows_what_belongs_together(trained: Any) -> None:
    model, batch = trained[1], pairs(10_000)
    every = torch.arange(SIZE)
    words = Text(batch["text"], batch["text_length"])
    right = inference.match_pairs(model, batch["image"], words, every, every).sigmoid()
    wrong = inference.match_pairs(model, batch["image"], words, every, every.roll(1)).sigmoid()
    assert (right > 0.5).float().mean() > 0.9 and (wrong < 0.5).float().mean() > 0.9


def test_captions_of_new_images_are_right(trained: Any) -> None:
    family, model, _ = trained
    if family == "albef":
        assert not hasattr(model, "begin_captions")
        return
    batch = pairs(10_001)
    captions, ids = inference.begin_captions(model, batch["image"]), torch.full((SIZE, 1), model.text.dec)
    written = []
    for _ in range(3):
        ids = inference.next_logits(model, ids, captions).argmax(-1, keepdim=True)
        written.append(ids)
    assert (torch.cat(written, dim=1) == batch["text"][:, 1:]).all(1).float().mean() > 0.9
