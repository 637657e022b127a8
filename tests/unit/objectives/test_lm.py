"""Causal language modelling of captions against a direct reading of BLIP's loss."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests import tiny
from vltk.models.encoded import Encoded
from vltk.models.passes import Plan
from vltk.models.tokens import Text
from vltk.parts import choose


def by_hand(model: Any, batch: dict[str, Tensor], prompts: list[int], smoothing: float) -> tuple[float, int]:
    """Token by token: -sum over words of the smoothed one-hot times the log share; and how many tokens."""
    texts = Text(batch["text"], batch["text_length"])
    with torch.no_grad():
        ground = model.ground(model.encode_images(batch["image"], [None], [None])[0])
        logs = model.predict(model.decode(ground, texts).hidden).log_softmax(-1)  # (B, T, V)
    total, count = 0.0, 0
    for i, length in enumerate(texts.lengths.tolist()):
        for place in range(max(1, prompts[i]), length):
            row = logs[i, place - 1]
            total -= (1 - smoothing) * float(row[texts.ids[i, place]]) + smoothing * float(row.mean())
            count += 1
    return total, count


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("prompt", [0, 3])
def test_each_token_given_those_before_it(smoothing: float, prompt: int) -> None:
    model = tiny.blip()
    part: Any = choose("objectives", "lm", label_smoothing=smoothing, weight=0.5).build(model=model)
    batch = tiny.batch(6)
    if prompt:
        batch["prompt_length"] = torch.full((6,), prompt)
    losses = part(Encoded(model, batch, Plan.of(part.reads(set()))), 0)
    wanted, count = by_hand(model, batch, [prompt] * 6, smoothing)
    assert losses.sums["lm"].item() == pytest.approx(0.5 * wanted, rel=1e-5)
    assert part.counts(batch)["lm"] == count


def test_padding_and_first_token_are_never_predicted() -> None:
    model = tiny.blip()
    part: Any = choose("objectives", "lm").build(model=model)
    batch = tiny.batch(6)
    again = dict(batch)
    again["text"] = batch["text"].masked_fill(~Text(batch["text"], batch["text_length"]).real, 17)
    again["text"][:, 0] = 31
    one, other = (part(Encoded(model, given, Plan.of(part.reads(set()))), 0).sums["lm"] for given in (batch, again))
    assert one.item() == pytest.approx(other.item(), rel=1e-6)


def test_a_prompt_of_the_model_is_asked_of_the_loader() -> None:
    assert choose("objectives", "lm").build(model=tiny.blip()).views["text"] == {"maker": "text"}
    prompted = choose("objectives", "lm").build(model=tiny.blip(prompt="a picture of"))
    assert prompted.views["text"] == {"maker": "text", "prompt": "a picture of"}
