"""BLIP's text model: what encoder and decoder share, which token stands first, and captions token by token."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests import tiny
from vltk.errors import RecipeError, VltkError
from vltk.models import inference
from vltk.models.encoded import Encoded
from vltk.models.layers import Rows
from vltk.models.passes import Plan
from vltk.models.tokens import Text
from vltk.parts import choose
from vltk.train.setup import recompute

DEC, ENC = tiny.VOCAB, tiny.VOCAB + 1


def pairs(size: int = 6) -> tuple[Tensor, Text]:
    made = tiny.batch(size)
    return made["image"], Text(made["text"], made["text_length"])


def grounded(model: Any, images: Tensor) -> Any:
    return model.ground(model.encode_images(images, [None], [None])[0])


def gradients_of(model: Any, result: Tensor) -> set[str]:
    model.zero_grad()
    result.square().sum().backward()
    return {name for name, parameter in model.named_parameters() if parameter.grad is not None}


def test_all_but_self_attention_is_shared() -> None:
    """BLIP ties everything but the paths with `/attention`: the norm of that sub-block is separate too."""
    model = tiny.blip()
    images, texts = pairs()
    reached = {
        "text": gradients_of(model, model.encode_texts([texts], [None])[0].hidden),
        "pair": gradients_of(
            model, model.pair(grounded(model, images), None, texts, torch.arange(6), torch.arange(6)).hidden
        ),
        "decode": gradients_of(model, model.decode(grounded(model, images), texts).hidden),
    }
    text = {way: {name for name in names if name.startswith("text.")} for way, names in reached.items()}
    assert text["text"] < text["pair"]
    assert {name.split(".")[4] for name in text["pair"] - text["text"]} == {"cross", "cross_norm"}
    own = {way: {name for name in text[way] if not name.startswith("text.shared.")} for way in text}
    assert {name.split(".")[1] for name in own["pair"]} == {"encoder"}
    assert {name.split(".")[1] for name in own["decode"]} == {"decoder"}
    assert {name.split(".", 3)[3] for name in own["pair"]} == {
        *(f"attention.{layer}.{kind}" for layer in ("qkv", "out") for kind in ("weight", "bias")),
        *("norm.weight", "norm.bias"),
    }
    assert text["pair"] - own["pair"] == text["decode"] - own["decode"]
    assert not any(name.startswith("image.") for name in reached["text"])


@pytest.mark.parametrize(("way", "mark"), [("pair", ENC), ("decode", DEC)])
def test_the_first_token_says_what_is_meant(way: str, mark: int) -> None:
    """Whatever stood at position 0 is replaced; its embedding gets no gradient but that of the mark does."""
    model = tiny.blip()
    images, texts = pairs()
    every = torch.arange(6)

    def run(given: Text) -> Tensor:
        ground = grounded(model, images)
        return (model.pair(ground, None, given, every, every) if way == "pair" else model.decode(ground, given)).hidden

    other = texts.ids.clone()
    other[:, 0] = 9
    assert run(texts).equal(run(Text(other, texts.lengths)))
    assert (texts.ids[:, 0] == 2).all()
    gradients_of(model, run(texts))
    moved = model.text.shared.words.weight.grad.abs().sum(1)
    assert moved[mark] > 0 and moved[2] == 0 and moved[ENC + DEC - mark] == 0


def test_a_decoder_never_looks_ahead() -> None:
    model = tiny.blip()
    images, texts = pairs()
    changed = texts.ids.clone()
    changed[:, 5:] = 7
    whole, other = (
        model.decode(grounded(model, images), Text(ids, texts.lengths)).hidden for ids in (texts.ids, changed)
    )
    assert whole[:, :5].equal(other[:, :5]) and not whole[:, 5:].equal(other[:, 5:])
    one, another = (
        model.pair(grounded(model, images), None, Text(ids, texts.lengths), *[torch.arange(6)] * 2).hidden
        for ids in (texts.ids, changed)
    )
    assert not one.allclose(another)


def test_rows_are_those_of_the_whole_pass() -> None:
    model = tiny.blip()
    images, texts = pairs()
    memory = grounded(model, images)
    whole = model.text.ground(texts, memory, None).hidden
    torch.testing.assert_close(model.text.ground(texts, memory, Rows.first(texts.ids)).hidden, whole[:, :1])


def uncached(model: Any, images: Tensor, ids: Tensor) -> Tensor:
    """The logits behind the last token, all computed anew."""
    texts = Text(ids, torch.full((len(ids),), ids.shape[1]))
    with torch.no_grad():
        return model.predict(model.decode(grounded(model, images), texts).hidden[:, -1])


@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_cached_logits_are_the_uncached_ones(precision: torch.dtype) -> None:
    """Through repeated, reordered, uneven and dropped beams; the images' keys and values are made once."""
    model = tiny.blip().to(precision)
    for part in model.modules():
        if isinstance(part, nn.LayerNorm):
            part.weight.data.normal_(1, 0.3)
    images = pairs()[0].to(precision)
    made: list[int] = []
    cross = model.text.shared.blocks[0].cross
    remember = cross.remember
    cross.remember = lambda image: made.append(len(image)) or remember(image)
    captions = inference.begin_captions(model, images)
    ids, owner = torch.randint(5, tiny.VOCAB, (6, 3), generator=torch.Generator().manual_seed(0)), torch.arange(6)
    ids[:, 0] = DEC
    inference.next_logits(model, ids, captions)
    turns = [range(6), [n // 3 for n in range(18)], [17, 0, 0, 5, 9, 1, 2, 2, 12], [8, 0, 3], [1]]
    for turn, chosen in enumerate(turns):
        rows = torch.tensor(list(chosen))
        captions, ids, owner = captions.take(rows), ids[rows], owner[rows]
        new = torch.randint(5, tiny.VOCAB, (len(rows), 1), generator=torch.Generator().manual_seed(turn))
        ids = torch.cat([ids, new], dim=1)
        found = inference.next_logits(model, new, captions)
        assert found.dtype == torch.float32 and not found.requires_grad
        wanted = uncached(model, images[owner], ids).float()
        torch.testing.assert_close(found, wanted, atol=2e-6 if precision == torch.float64 else 1e-5, rtol=1e-5)
    assert made[0] == 6 and sum(made) == 6 + sum(len(list(turn)) for turn in turns)


def test_images_are_shared_by_their_rows() -> None:
    """Beams of an image point at the same memory; where no row is left of an image, its memory goes."""
    model = tiny.blip()
    captions = inference.begin_captions(model, pairs()[0])
    beams = captions.take(torch.arange(6).repeat_interleave(4))
    assert len(beams) == 24
    assert all(
        mine.data_ptr() == other.data_ptr()
        for one, two in zip(captions.memory, beams.memory, strict=True)
        for mine, other in zip(one, two, strict=True)
    )
    few = beams.take(torch.tensor([23, 2, 2]))
    assert [len(key) for key, _ in few.memory] == [2, 2] and few.image_of.tolist() == [1, 0, 0]


def test_a_caption_starts_with_its_prompt() -> None:
    class Words:
        sep = 3

        def encode(self, text: str) -> Any:
            assert text == "a picture of"
            return (2, 11, 12, 13, 3), None

    assert tiny.blip(prompt="a picture of").caption_start(Words()) == ([DEC, 11, 12, 13], 3)
    assert tiny.blip().caption_start(Words()) == ([DEC], 3)


def test_captions_are_no_longer_than_the_table() -> None:
    model = tiny.blip()
    captions = inference.begin_captions(model, pairs()[0])
    inference.next_logits(model, torch.full((6, 24), 5), captions)
    with pytest.raises(VltkError, match="text of 25 tokens given, the encoder takes 24"):
        inference.next_logits(model, torch.full((6, 1), 5), captions)


def test_recomputed_activations_are_the_same() -> None:
    found = []
    for again in (False, True):
        for model, names, stacks in ((tiny.blip(), tiny.BLIP, 2), (tiny.albef(), tiny.ALBEF, 3)):
            pretraining = tiny.grouped(model, *names)
            if again:
                recompute(pretraining)
                assert sum(getattr(part, "recomputes", False) for part in model.modules()) == stacks
            losses, _ = pretraining("all", tiny.batch(6), 2)
            torch.stack(list(losses.sums.values())).sum().backward()
            found.append(tiny.gradients(model))
    for one, two in ((0, 2), (1, 3)):
        assert found[one].keys() == found[two].keys()
        for name, gradient in found[one].items():
            torch.testing.assert_close(found[two][name], gradient, rtol=1e-5, atol=1e-7, msg=name)


def test_sizes_that_do_not_fit() -> None:
    text = {"part": "med", **tiny.TOWER, "vocab": 52, "encoder": False, "decoder": False}
    with pytest.raises(RecipeError, match=r"^text\.encoder: false given, and decoder is false too"):
        tiny.blip(text=text)
    with pytest.raises(RecipeError, match="^text: bert given, but only med both encodes and writes"):
        tiny.blip(text={"part": "bert", **tiny.TOWER})
    with pytest.raises(RecipeError, match=r"^fusion\.width: 48 given, but it continues the text encoder"):
        tiny.albef(fusion={"part": "cross", **tiny.TOWER, "width": 48})
    with pytest.raises(RecipeError, match="^fusion: joint given, but ALBEF's text looks at images"):
        tiny.albef(fusion={"part": "joint", **tiny.TOWER})
    with pytest.raises(RecipeError, match="part 'med' needs image_width, which this place does not have"):
        choose("models/families", "clip", image={"part": "vit"}, text={"part": "med"}).build()


def test_the_temperature_is_held_and_can_come_back() -> None:
    for start, wanted in ((1e-5, 1000.0), (0.9, 2.0), (0.25, 4.0)):
        head = tiny.blip().heads["contrast"]
        head.temperature.data.fill_(start)
        head.scale().backward()
        assert head.scale().item() == pytest.approx(wanted, rel=1e-5)
        assert head.temperature.grad.item() == pytest.approx(-(wanted**2), rel=1e-4)


def test_pairs_by_number_are_the_planned_pass() -> None:
    """ALBEF and FLAVA fuse the same whether planned or by number."""
    for model in (tiny.albef(), tiny.flava()):
        made = tiny.batch(6)
        encoded = Encoded(model, made, Plan.of([("fused", "cls"), ("image", "all"), ("text", "all")]))
        every = torch.arange(6)
        torch.testing.assert_close(encoded.pair(every, every).cls, encoded["fused"].cls, atol=1e-6, rtol=1e-5)
        swapped = encoded.pair(every, every.flip(0)).cls
        assert not swapped.allclose(encoded["fused"].cls, atol=1e-4)
