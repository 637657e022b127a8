"""Masked objectives: which items count, what the views ask for, and what happens when two disagree."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests import tiny
from vltk.errors import RecipeError
from vltk.models.packing import MULTIPLE
from vltk.models.passes import Plan
from vltk.objectives._contract import image_views, prediction
from vltk.parts import choose
from vltk.train.accumulate import run_step


def test_masks_scale_with_the_grid() -> None:
    """BEiT's numbers at 14 x 14, the same shares elsewhere."""
    full = image_views((14, 14), 8, 75 / 196, None)
    assert full["image_masked_at"]["max_masked"] == 75
    assert full["image_masked_at"]["min_block"] == 16
    assert full["image_for_codes"]["size"] == 112
    small = image_views((4, 4), 8, 75 / 196, None)["image_masked_at"]
    assert (small["max_masked"], small["min_block"], small["grid"]) == (6, 1, [4, 4])


def test_prediction_is_a_weighted_sum() -> None:
    head, states, target = nn.Linear(4, 7), torch.randn(5, 4), torch.tensor([0, 3, 6, 1, 1])
    logits = head(states).detach()
    loss, accuracy = prediction(head, states, target, 0.25)
    wanted = -0.25 * sum(math.log(F.softmax(row, 0)[t].item()) for row, t in zip(logits, target, strict=True))
    assert loss.item() == pytest.approx(wanted, rel=1e-5)
    assert accuracy.item() == pytest.approx((logits.argmax(1) == target).float().mean().item())
    nothing, unknown = prediction(head, states[:0], target[:0], 1.0)
    assert nothing == 0 and math.isnan(unknown)


def test_rows_that_fill_up_change_nothing() -> None:
    """Heads see numbers of rows that come again: gradients are those of the plain form."""
    head, states, target = nn.Linear(4, 7), torch.randn(MULTIPLE + 1, 4), torch.randint(7, (MULTIPLE + 1,))
    seen: list[int] = []
    head.register_forward_hook(lambda module, given, made: seen.append(len(made)))
    plain = torch.autograd.grad(F.cross_entropy(head(states), target, reduction="sum"), [*head.parameters()])
    filled = torch.autograd.grad(prediction(head, states, target, 1.0)[0], [*head.parameters()])
    torch.testing.assert_close(filled, plain, rtol=1e-5, atol=1e-6)
    assert seen == [MULTIPLE + 1, 2 * MULTIPLE]


def test_only_matched_pairs_count() -> None:
    batch = tiny.batch(6, matched=(1, 0, 1, 1, 0, 1))
    keep = batch["positive"]
    counts = tiny.pretraining(tiny.flava(), "itc", "itm", "mmm").counts("all", batch)
    assert counts["itc"] == 4
    assert counts["itm"] == 6
    assert counts["mmm_image"] == batch["image_masked_at"][keep].sum()
    assert counts["mmm_text"] == batch["text_masked_at"][keep].sum()


def test_unmatched_pairs_leave_the_masked_losses_alone() -> None:
    """Changing the codes and words of unmatched pairs changes no masked loss."""
    model, batch = tiny.flava(), tiny.batch(6, matched=(1, 0, 1, 1, 0, 1))
    changed = dict(batch)
    lost = ~batch["positive"][:, None]
    changed["codes"] = torch.where(lost, (batch["codes"] + 1) % tiny.CODES, batch["codes"])
    changed["image"] = torch.where(lost[..., None, None], torch.randn_like(batch["image"]), batch["image"])
    pretraining = tiny.pretraining(model, "mmm", "itm")
    before, after = pretraining("all", batch, 0)[0].sums, pretraining("all", changed, 0)[0].sums
    for name in ("mmm_image", "mmm_text"):
        torch.testing.assert_close(before[name], after[name], atol=0, rtol=1e-6)
    assert before["itm"] != after["itm"]


def test_masked_losses_respect_matches_without_itm() -> None:
    """Whichever losses are on: the flag of the batch decides, not the presence of the matching loss."""
    model, batch = tiny.flava(), tiny.batch(6, matched=(1, 0, 1, 1, 0, 1))
    alone = tiny.pretraining(model, "mmm")("all", batch, 0)[0].sums
    beside = tiny.pretraining(model, "mmm", "itm")("all", batch, 0)[0].sums
    for name in ("mmm_image", "mmm_text"):
        torch.testing.assert_close(alone[name], beside[name], atol=0, rtol=1e-6)


def test_matching_reads_the_masked_pass_where_there_is_one() -> None:
    objective = choose("objectives", "itm").build()
    assert objective.reads({"image", "text", "matched"}) == {("fused", "cls")}
    masked = {"image", "text", "matched", "image_masked_at", "text_masked"}
    assert objective.reads(masked) == {("fused_masked", "cls")}
    assert Plan.of(objective.reads(masked)).among(["image", "text"]) == []


def test_weights_scale_the_losses() -> None:
    model, batch = tiny.flava(), tiny.batch(6, matched=(1, 0, 1, 1, 0, 1))
    plain = tiny.pretraining(model, "itm", "mmm")("all", batch, 0)[0].sums
    itm = choose("objectives", "itm", weight=2.0).build()
    mmm = choose("objectives", "mmm", image_weight=3.0, text_weight=0.5).build(model=model, codes=tiny.Cached())
    pretraining = tiny.Pretraining(model, {"all": {"itm": itm, "mmm": mmm}})
    weighted = pretraining("all", batch, 0)[0].sums
    for name, factor in (("itm", 2.0), ("mmm_image", 3.0), ("mmm_text", 0.5)):
        torch.testing.assert_close(weighted[name], factor * plain[name])


def test_two_options_for_one_view_are_a_mistake_of_the_recipe() -> None:
    model = tiny.flava()
    parts = {
        "mmm": choose("objectives", "mmm").build(model=model, codes=tiny.Cached()),
        "mim": choose("objectives", "mim", mask_ratio=0.5).build(model=model, codes=tiny.Cached()),
    }
    with pytest.raises(RecipeError, match="streams.pairs: objectives mmm and mim ask for the view 'image_masked_at'"):
        tiny.Pretraining(model, {"pairs": parts})


def test_reached_parameters() -> None:
    """Those of image and head for images alone; all but the unimodal heads for pairs."""
    model, batch = tiny.flava(), tiny.batch(6, matched=(1, 0, 1, 1, 0, 1))
    images = tiny.pretraining(model, "mim").reached("all", batch)
    assert {name.split(".")[1] for name in images} == {"image", "heads"}
    pairs = tiny.pretraining(model, "itc", "itm", "mmm").reached("all", batch)
    every = {f"model.{name}" for name, _ in model.named_parameters()}
    assert {name.split(".")[2] for name in every - pairs} == {"mim", "mlm"}
    assert "model.logit_scale" in pairs


def test_mean_losses_are_divided_by_what_counts() -> None:
    model, batch = tiny.flava(), tiny.batch(6, matched=(1, 0, 1, 1, 0, 1))
    pretraining = tiny.pretraining(model, "itc", "itm", "mmm")
    sums, counts = pretraining("all", batch, 0)[0].sums, pretraining.counts("all", batch)
    record = run_step(tiny.Bare(pretraining), pretraining, "all", [batch], 0, 0)
    for name, loss in record.losses.items():
        torch.testing.assert_close(loss, (sums[name] / counts[name]).detach())
