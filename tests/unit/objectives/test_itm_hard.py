"""Matching with hard negatives: how they are drawn, what is never drawn, the loss against a direct reading."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests import tiny
from vltk.models import inference
from vltk.models.encoded import Encoded
from vltk.models.passes import Plan
from vltk.models.tokens import Text
from vltk.objectives._peers import drawn
from vltk.parts import choose

SIZE, GROUP = 6, 3


def encoded(model: Any, part: Any, **changes: Tensor) -> Encoded:
    return Encoded(model, tiny.batch(SIZE) | changes, Plan.of(part.reads(set())))


def objective(model: Any, **options: Any) -> Any:
    return choose("objectives", "itm_hard", **({"among": GROUP} | options)).build(model=model)


@pytest.mark.parametrize("family", ["blip", "albef", "flava"])
def test_the_loss_is_that_of_three_pairs_a_sample(family: str) -> None:
    """One right and two wrong pairs each; every family that fuses can be trained so."""
    model = getattr(tiny, family)()
    part = objective(model, weight=2.0)
    batch = tiny.batch(SIZE)
    held = encoded(model, part)
    images, texts = part._negatives(held)
    losses = part(held, 0)
    every, words = torch.arange(SIZE), Text(batch["text"], batch["text_length"])
    wanted = 0.0
    for image_rows, text_rows, match in ((every, every, 1), (images, every, -1), (every, texts, -1)):
        logits = inference.match_pairs(model, batch["image"], words, image_rows, text_rows)
        wanted -= float(F.logsigmoid(match * logits).sum())
    assert losses.sums["itm"].item() == pytest.approx(2 * wanted, rel=1e-4)
    assert losses.metrics["itm_matched"].item() == pytest.approx(1 / 3)
    assert part.counts(batch)["itm"] == 3 * SIZE
    losses.sums["itm"].backward()
    assert model.image.patch_projection.weight.grad.abs().sum() > 0


def test_negatives_stay_in_their_group_and_are_never_oneself() -> None:
    model = tiny.blip()
    part = objective(model)
    for seed in range(20):
        lots = torch.rand(2, SIZE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        for rows in part._negatives(encoded(model, part, image_lot=lots[0], text_lot=lots[1])):
            assert (rows // GROUP == torch.arange(SIZE) // GROUP).all() and (rows != torch.arange(SIZE)).all()


def test_another_caption_of_the_same_image_is_no_negative() -> None:
    """Five captions an image: BLIP masks by image in its fine-tuning alone, here always."""
    model = tiny.blip()
    part = objective(model, among=SIZE)
    ids = torch.tensor([4, 4, 4, 4, 9, 4])
    for seed in range(20):
        lots = torch.rand(2, SIZE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        held = encoded(model, part, image_lot=lots[0], text_lot=lots[1], image_id=ids)
        for rows in part._negatives(held):
            assert (ids[rows] != ids).all()


def test_a_sample_without_another_image_has_no_wrong_pairs() -> None:
    model = tiny.blip()
    part = objective(model)
    ids = torch.tensor([4, 4, 4, 7, 8, 8])
    held = encoded(model, part, image_id=ids)
    assert part.counts(held.batch)["itm"] == SIZE + 2 * 3
    losses = part(held, 0)
    assert losses.metrics["itm_matched"].item() == pytest.approx(6 / 12)
    images, texts = part._negatives(held)
    every, words = torch.arange(SIZE), Text(held.batch["text"], held.batch["text_length"])
    wanted = -float(F.logsigmoid(inference.match_pairs(model, held.batch["image"], words, every, every)).sum())
    for image_rows, text_rows in ((images[3:], every[3:]), (every[3:], texts[3:])):
        logits = inference.match_pairs(model, held.batch["image"], words, image_rows, text_rows)
        wanted -= float(F.logsigmoid(-logits).sum())
    assert losses.sums["itm"].item() == pytest.approx(wanted, rel=1e-4)


def test_they_are_drawn_by_their_similarity() -> None:
    weights = torch.tensor([0.0, 0.1, 0.0, 0.6, 0.3, 0.0])
    lots = (torch.arange(10_000, dtype=torch.float64) + 0.5) / 10_000
    counts = drawn(weights.expand(10_000, -1), lots).bincount(minlength=6)
    assert counts.tolist() == pytest.approx([0, 1000, 0, 6000, 3000, 0], abs=2)
    assert drawn(weights[None], torch.zeros(1, dtype=torch.float64)).item() == 1
    assert drawn(weights[None], torch.tensor([1 - 2**-53], dtype=torch.float64)).item() == 4


def test_the_weights_are_the_softmax_of_the_model_s_similarity() -> None:
    """Both ways, own ones left out, `floor` added, as blip_pretrain.py and blip_retrieval.py do."""
    model = tiny.blip()
    part = objective(model, floor=1e-2)
    batch = tiny.batch(SIZE)
    image = inference.image_embeddings(model, batch["image"])
    text = inference.text_embeddings(model, batch["text"], batch["text_length"])
    lots = {"image_lot": torch.full((SIZE,), 0.37).double(), "text_lot": torch.full((SIZE,), 0.82).double()}
    images, texts = part._negatives(encoded(model, part, **lots))
    for rows, lot, own, others in ((images, 0.37, text, image), (texts, 0.82, image, text)):
        for i in range(SIZE):
            peers = [j for j in range(SIZE) if j // GROUP == i // GROUP]
            shares = (model.scale().item() * others[peers] @ own[i]).softmax(0) + 1e-2
            shares[peers.index(i)] = 0
            place = int((shares.cumsum(0) / shares.sum() <= lot).sum())
            assert int(rows[i]) == peers[place]


def test_a_loss_at_the_prior_of_one_match_in_three_is_named() -> None:
    """BLIP#200, BLIP#152, LAVIS#266: a loss that stays at 0.63 is that of a head that has learned nothing."""
    part = objective(tiny.blip())
    prior = math.log(3) - 2 / 3 * math.log(2)
    assert prior == pytest.approx(0.6365, abs=1e-4)
    assert "has learned nothing: its loss is 0.6330" in part.at_chance({"itm": 0.633}, {"itm_matched": 1 / 3})
    assert part.at_chance({"itm": 0.6}, {"itm_matched": 1 / 3}) is None


def test_all_of_a_small_batch_is_one_group() -> None:
    model = tiny.blip()
    part = objective(model, among=75)
    images, _ = part._negatives(encoded(model, part))
    assert set(images.tolist()) - set(range(GROUP)) and (images != torch.arange(SIZE)).all()
