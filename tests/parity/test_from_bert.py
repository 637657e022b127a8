"""BLIP's text model and ALBEF's halves, started from a BERT: what they have of it computes what transformers' does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests import tiny
from vltk.models.from_bert import lent
from vltk.models.tokens import Text
from vltk.parts import choose
from vltk.run import find_source, load_stage, part_of, read_weights
from vltk.train.start import Fit, fit, unlike

transformers = pytest.importorskip("transformers")

DEPTH = 4
CONFIG = {
    "hidden_size": tiny.WIDTH,
    "num_hidden_layers": DEPTH,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "vocab_size": tiny.VOCAB,
    "max_position_embeddings": 24,
}
SIZES = {"width": tiny.WIDTH, "heads": 2, "mlp": 48}
IMAGE = {"part": "vit", **tiny.TOWER, "image_size": tiny.IMAGE}
LENGTHS = (12, 7, 4, 9)


@pytest.fixture
def theirs(tmp_path: Path) -> Any:
    """A BERT with its head, every parameter random; its folder is `tmp_path / "bert"`."""
    model = tiny.randomised(transformers.BertForMaskedLM(transformers.BertConfig(**CONFIG)), 2)
    model.save_pretrained(tmp_path / "bert")
    return model.eval()


def mixture(**options: Any) -> Any:
    text = {"part": "med", **SIZES, "depth": DEPTH, "vocab": tiny.VOCAB + 2, "max_length": 24, **options}
    return choose("models/families", "blip", image=IMAGE, text=text, embedding=24)


def halves(lower: int = 3, upper: int = 1) -> Any:
    text = {"part": "bert", **SIZES, "depth": lower, "vocab": tiny.VOCAB, "max_length": 24, "norm": "post"}
    fusion = {"part": "cross", **SIZES, "depth": upper}
    return choose("models/families", "albef", image=IMAGE, text=text, fusion=fusion, embedding=24)


def started(choice: Any, folder: Path, *parts: str) -> tuple[Any, dict[str, Fit]]:
    """The model with these parts taken from the folder, and how they fitted."""
    source = find_source(folder)
    loan = lent(choice, load_stage(source).model, read_weights(source)[0])
    torch.manual_seed(7)
    model, found = choice.build().eval(), {}
    for part in parts:
        assert list(unlike(choice, loan.model, part)) == []
        found[part] = fit(model.get_submodule(part), part_of(loan.weights, part), loan.new)
        assert not found[part].problems
        model.get_submodule(part).load_state_dict(found[part].taken, strict=False)
    return model, found


def texts() -> tuple[Text, Tensor]:
    batch = tiny.batch(4, LENGTHS)
    real = torch.arange(max(LENGTHS)) < batch["text_length"][:, None]
    return Text(batch["text"].where(real, torch.tensor(0)), batch["text_length"]), real


def states(theirs: Any, text: Text, real: Tensor) -> tuple[Tensor, ...]:
    with torch.no_grad():
        out = theirs.bert(input_ids=text.ids, attention_mask=real.long(), output_hidden_states=True)
    found: tuple[Tensor, ...] = out.hidden_states
    return found


def test_the_mixture_encodes_a_text_as_bert(theirs: Any, tmp_path: Path) -> None:
    before = mixture().build().state_dict()
    model, found = started(mixture(), tmp_path / "bert", "text", "heads.lm")
    text, real = texts()
    wanted = states(theirs, text, real)[-1]
    with torch.no_grad():
        (encoded,) = model.encode_texts([text], [None])
        logits = model.predict(encoded.normed)
        theirs_logits = theirs(input_ids=text.ids, attention_mask=real.long()).logits
    torch.testing.assert_close(encoded.normed[real], wanted[real], atol=2e-5, rtol=0)
    torch.testing.assert_close(logits[real][:, : tiny.VOCAB], theirs_logits[real], atol=5e-5, rtol=0)
    taken = found["text"]
    assert taken.resized == {"shared.words.weight": "words 50 -> 52, 2 of them at random"}
    assert taken.random and all(".cross" in name for name in taken.random) and not taken.unused
    assert len(taken.taken) + len(taken.random) == len(part_of(before, "text"))
    assert "at random: shared.blocks.*.cross.key_value.bias, shared.blocks.*.cross.key_value.weight" in taken.said()
    assert not found["heads.lm"].random and model.heads["lm"].bias[-2:].tolist() == [0, 0]


def test_encoder_and_decoder_both_start_from_it(theirs: Any, tmp_path: Path) -> None:
    model, _ = started(mixture(), tmp_path / "bert", "text")
    own = theirs.bert.encoder.layer[2].attention
    for half in (model.text.encoder[2], model.text.decoder[2]):
        query, key, value = half.attention.qkv.weight.chunk(3)
        assert torch.equal(query, own.self.query.weight) and torch.equal(value, own.self.value.weight)
        assert torch.equal(key, own.self.key.weight) and torch.equal(half.norm.bias, own.output.LayerNorm.bias)
    with torch.no_grad():
        model.text.encoder[2].attention.out.weight.zero_()
    assert torch.equal(model.text.decoder[2].attention.out.weight, own.output.dense.weight)  # weights of its own
    half, found = started(mixture(encoder=False), tmp_path / "bert", "text", "heads.lm")
    assert half.text.encoder is None and not any(name.startswith("encoder") for name in found["text"].taken)


def test_parts_of_the_mixture(theirs: Any, tmp_path: Path) -> None:
    model, _ = started(mixture(), tmp_path / "bert", "text.decoder")
    assert torch.equal(
        model.text.decoder[0].norm.weight, theirs.bert.encoder.layer[0].attention.output.LayerNorm.weight
    )
    assert not torch.equal(model.text.encoder[0].norm.weight, model.text.decoder[0].norm.weight)


def test_albef_takes_the_lower_and_the_upper_layers(theirs: Any, tmp_path: Path) -> None:
    model, found = started(halves(), tmp_path / "bert", "text", "fusion", "heads.mmm_text")
    text, real = texts()
    wanted = states(theirs, text, real)
    with torch.no_grad():
        (encoded,) = model.encode_texts([text], [None])
        above = encoded.normed
        for own, other in zip(model.fusion.attentions, model.fusion.blocks, strict=True):
            above = other(own(above, torch.zeros(()).where(real, float("-inf"))[:, None, None]), None)
        logits = model.predict(above)
        theirs_logits = theirs(input_ids=text.ids, attention_mask=real.long()).logits
    torch.testing.assert_close(encoded.normed[real], wanted[3][real], atol=2e-5, rtol=0)
    torch.testing.assert_close(above[real], wanted[4][real], atol=2e-5, rtol=0)  # without an image
    torch.testing.assert_close(logits[real], theirs_logits[real], atol=5e-5, rtol=0)
    assert not found["text"].random and not found["heads.mmm_text"].random
    assert found["fusion"].random and all(name.startswith("blocks.0.cross") for name in found["fusion"].random)


@pytest.mark.parametrize(
    ("choice", "part", "said"),
    [
        (mixture(width=16), "text", "model.text.width: 16 given, the weights have 32; set model.text.width=32"),
        (mixture(vocab=tiny.VOCAB), "text", "model.text.vocab: 50 given, the weights have 52; set model.text.vocab=52"),
        (mixture(depth=3), "text", "model.text.depth: 3 given, the weights have 4; set model.text.depth=4"),
        (halves(upper=2), "fusion", "model.fusion.depth: 2 given, the weights have 1; set model.fusion.depth=1"),
        (halves(lower=5), "text", "model.text.depth: 5 given, the weights have 4; set model.text.depth=4"),
    ],
)
def test_other_sizes_are_refused(theirs: Any, tmp_path: Path, choice: Any, part: str, said: str) -> None:
    source = find_source(tmp_path / "bert")
    loan = lent(choice, load_stage(source).model, read_weights(source)[0])
    assert list(unlike(choice, loan.model, part)) == [said]


def test_a_bert_of_the_lower_layers_alone_has_no_fusion(theirs: Any, tmp_path: Path) -> None:
    source = find_source(tmp_path / "bert")
    loan = lent(halves(lower=4), load_stage(source).model, read_weights(source)[0])
    model = halves(lower=4).build()
    assert not fit(model.text, part_of(loan.weights, "text"), loan.new).problems
    assert fit(model.fusion, part_of(loan.weights, "fusion"), loan.new).problems == ["none of them is of this part"]
