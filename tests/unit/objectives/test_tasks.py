"""Objectives of fine-tuning: their losses by hand, what they read, and where their gradient goes."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from tests import tiny
from vltk.errors import RecipeError
from vltk.models.encoded import Encoded
from vltk.models.inference import task_outputs
from vltk.models.passes import Plan
from vltk.parts import choose
from vltk.train.accumulate import run_step

KINDS = {"classify": "class", "regress": "score", "vqa": "answers"}


def losses(objective: str, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """What the head gives (B, outputs), and the mean loss."""
    model = tiny.finetuned(outputs=1 if objective == "regress" else 3)
    whole = tiny.pretraining(model, objective)
    loss = whole("all", batch, 0)[0].sums[objective] / whole.counts("all", batch)[objective]
    return task_outputs(model, batch), loss.detach()


def test_classification_is_the_mean_cross_entropy() -> None:
    batch = tiny.labelled()
    outputs, loss = losses("classify", batch)
    wanted = [-F.log_softmax(row, 0)[label].item() for row, label in zip(outputs, batch["label"], strict=True)]
    assert loss.item() == pytest.approx(sum(wanted) / 6, rel=1e-5)


def test_regression_learns_the_score_over_its_scale() -> None:
    batch = tiny.labelled(kind="score")
    outputs, loss = losses("regress", batch)
    assert loss.item() == pytest.approx(((outputs[:, 0] - batch["label"] / 5) ** 2).mean().item(), rel=1e-5)


def test_vqa_sums_the_binary_cross_entropy_of_soft_answers() -> None:
    batch = tiny.labelled(kind="answers")
    outputs, loss = losses("vqa", batch)
    by_hand = 0.0
    for logits, scores in zip(outputs.tolist(), batch["answers"].tolist(), strict=True):
        for logit, score in zip(logits, scores, strict=True):
            right = 1 / (1 + math.exp(-logit))
            by_hand -= score * math.log(right) + (1 - score) * math.log(1 - right)
    assert loss.item() == pytest.approx(by_hand / 6, rel=1e-5)


@pytest.mark.parametrize("objective", KINDS)
def test_the_gradient_reaches_every_encoder_and_the_head(objective: str) -> None:
    whole = tiny.pretraining(tiny.finetuned(outputs=1 if objective == "regress" else 3), objective).train()
    batch = tiny.labelled(kind=KINDS[objective])
    run_step(tiny.Bare(whole), whole, "all", [batch], 0, 0)
    found = {name for name, gradient in tiny.gradients(whole).items() if gradient.abs().sum() > 0}
    for part in ("image.patch_projection", "text.words", "fusion.transformer", "head.1", "head.4"):
        assert any(name.startswith(f"model.{part}") for name in found), part


@pytest.mark.parametrize("objective", KINDS)
def test_micro_batches_give_the_same_gradient(objective: str) -> None:
    batch = tiny.labelled(kind=KINDS[objective])
    gradients = []
    for sizes in ([6], [2, 1, 3]):
        whole = tiny.pretraining(tiny.finetuned(outputs=1 if objective == "regress" else 3), objective)
        cut = {name: tensor.split(sizes) for name, tensor in batch.items()}
        run_step(tiny.Bare(whole), whole, "all", [{n: p[i] for n, p in cut.items()} for i in range(len(sizes))], 0, 0)
        gradients.append(tiny.gradients(whole))
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-4, atol=1e-6)


def test_what_the_head_reads() -> None:
    """The fusion's CLS; without a fusion both vectors; of one encoder its own. Passes that nobody reads do not run."""
    batch = tiny.labelled()
    for model, passes, width in (
        (tiny.finetuned(), ("fused",), tiny.WIDTH),
        (tiny.finetuned(fusion=None), ("image", "text"), 2 * tiny.WIDTH),
        (tiny.finetuned(fusion=None, image=None), ("text",), tiny.WIDTH),
    ):
        assert model.passes == passes and model.head[1].in_features == width
        whole = tiny.pretraining(model, "classify")
        encoded = Encoded(model, batch, whole.plans["all"])
        assert set(encoded._tokens) == ({"fused", "image", "text"} if passes == ("fused",) else set(passes))
        assert set(whole.views["all"]) == {"label", *(name for name in ("image", "text") if getattr(model, name))}


def test_a_fused_answer_is_that_of_the_whole_sequence() -> None:
    """Reading CLS_M alone changes nothing."""
    model, batch = tiny.finetuned(), tiny.labelled()
    encoded = Encoded(model, batch, Plan.of([("fused", "all")]))
    torch.testing.assert_close(model.answer(encoded["fused"]), task_outputs(model, batch), rtol=1e-4, atol=1e-5)


def test_a_model_without_encoders_is_refused() -> None:
    with pytest.raises(RecipeError, match="give one of them an encoder"):
        choose("models/families", "finetuned", outputs=2).build()
    with pytest.raises(RecipeError, match="fusion: needs both image and text"):
        choose("models/families", "finetuned", outputs=2, text="bert", fusion="joint").build()
