"""ALBEF's masked words beside an image, distilled: against a direct reading of xbert.py's loss."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests import tiny
from vltk.models import inference
from vltk.train.pretraining import Pretraining


def logits_of(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    return inference.predict_words_from_pair(
        model, batch["image"], batch["text_masked"], batch["text_length"], batch["text_masked_at"]
    )


def drifted(**options: Any) -> Pretraining:
    """Whose teacher is another model than its student."""
    pretraining = tiny.grouped(tiny.albef(), "mlm_momentum", mlm_momentum=options)
    teacher: Any = pretraining.replicas["teacher"].module.get_submodule("model")
    tiny.randomised(teacher, seed=5, std=0.3)
    return pretraining


@pytest.mark.parametrize(("step", "alpha"), [(0, 0.0), (3, 0.3), (9, 0.4)])
def test_one_hot_and_teacher_in_their_shares(step: int, alpha: float) -> None:
    pretraining = drifted(weight=2.0)
    batch = tiny.batch(6)
    losses, _ = pretraining("all", batch, step)
    teacher = pretraining.replicas["teacher"].module.get_submodule("model")
    logs, soft = logits_of(pretraining.model, batch).log_softmax(-1), logits_of(teacher, batch).softmax(-1)
    words = batch["text"][batch["text_masked_at"]]
    wanted = 0.0
    for row, target, word in zip(logs, soft, words.tolist(), strict=True):
        wanted += -(1 - alpha) * float(row[word]) - alpha * float((target * row).sum())
    assert losses.sums["mlm"].item() == pytest.approx(2 * wanted, rel=1e-4)
    assert losses.metrics["mlm_alpha"].item() == pytest.approx(alpha)
    assert pretraining.counts("all", batch)["mlm"] == batch["text_masked_at"].sum()


def test_words_are_read_beside_their_image() -> None:
    model = tiny.albef()
    batch = tiny.batch(6)
    other = batch | {"image": batch["image"].flip(0)}
    assert not logits_of(model, batch).allclose(logits_of(model, other), atol=1e-4)


def test_the_teacher_gets_no_gradient() -> None:
    pretraining = drifted()
    pretraining("all", tiny.batch(6), 9)[0].sums["mlm"].backward()
    assert all(parameter.grad is None for parameter in pretraining.replicas["teacher"].module.parameters())
    assert pretraining.model.get_submodule("fusion.blocks.0.cross.key_value").weight.grad.abs().sum() > 0  # type: ignore[union-attr]
