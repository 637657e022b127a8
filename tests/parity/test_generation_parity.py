"""Beam search and what limits the next token, against transformers' `generate` on tiny random decoders."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests import tiny
from vltk import parts
from vltk.caption import beam
from vltk.caption.contract import Start
from vltk.caption.decoding import Decoding
from vltk.caption.limits import Limits

transformers = pytest.importorskip("transformers")
END, VOCAB, PROMPTS = 3, 60, [[2, 7, 9], [2, 7, 9], [2, 7, 9], [2, 7, 9]]


@dataclass
class Cached:
    """The rows so far as a cache of transformers; `rows` of it."""

    cache: Any
    rows: Tensor
    vectors: Tensor

    def take(self, rows: Tensor) -> Cached:
        self.cache.reorder_cache(rows)
        return Cached(self.cache, rows, self.vectors[rows])


class Gpt2:
    """GPT-2 behind the contract: an image is a vector that is added to every word."""

    def __init__(self, seed: int) -> None:
        config = transformers.GPT2Config(
            vocab_size=VOCAB,
            n_positions=40,
            n_embd=24,
            n_layer=2,
            n_head=2,
            bos_token_id=2,
            eos_token_id=END,
            pad_token_id=0,
        )
        self.model = tiny.randomised(transformers.GPT2LMHeadModel(config), seed=seed, std=0.4).eval()

    def parameters(self) -> Any:
        return self.model.parameters()

    def begin_captions(self, images: Tensor) -> Cached:
        return Cached(transformers.DynamicCache(), torch.arange(len(images)), images)

    def next_logits(self, ids: Tensor, state: Cached) -> Tensor:
        words = self.model.transformer.wte(ids) + state.vectors[:, None]
        out = self.model(inputs_embeds=words, past_key_values=state.cache, use_cache=True)
        return out.logits[:, -1].float()


def theirs(twin: Gpt2, vectors: Tensor, **options: Any) -> Any:
    """Texts by `generate`, one image at a time, whose vector is added to the words inside the model."""
    found = []
    table = twin.model.transformer.wte
    for prompt, vector in zip(PROMPTS, vectors, strict=True):
        hook = table.register_forward_hook(lambda module, given, out, vector=vector: out + vector)
        out = twin.model.generate(
            torch.tensor([prompt]), do_sample=False, output_scores=True, return_dict_in_generate=True, **options
        )
        hook.remove()
        found.append([row[len(prompt) :].tolist() for row in out.sequences])
    return found


CASES = [
    {},
    {"min_length": 9},
    {"repetition_penalty": 1.3},
    {"no_repeat_ngram": 2},
    {"length_penalty": 2.0},
    {"length_penalty": -1.0, "min_length": 6, "repetition_penalty": 1.1, "no_repeat_ngram": 3},
    {"beams": 5, "length_penalty": 0.0},
]


@torch.no_grad()
@pytest.mark.parametrize("case", CASES, ids=lambda case: ",".join(case) or "plain")
def test_beam_search(case: dict[str, Any]) -> None:
    told = {"beams": 3, "min_length": 0, "max_length": 14, "repetition_penalty": 1.0, "length_penalty": 1.0} | case
    decoding = Decoding(method="beam", samples=told["beams"], **told)
    renamed = {"beams": "num_beams", "no_repeat_ngram": "no_repeat_ngram_size"}
    options = {renamed.get(name, name): value for name, value in told.items()}
    for seed in range(4):
        twin, vectors = Gpt2(seed), torch.randn(4, 24, generator=torch.Generator().manual_seed(seed)) * 0.3
        state = twin.begin_captions(vectors)
        ours = beam.search(twin, state, Start(PROMPTS[0], END), decoding, 4)
        wanted = theirs(twin, vectors, num_return_sequences=told["beams"], **options)
        for image, (texts, others) in enumerate(zip(ours, wanted, strict=True)):
            cut = [other[: other.index(END)] if END in other else other for other in others]
            assert [list(text.ids) for text in texts] == cut, (seed, image)


@pytest.mark.parametrize("case", CASES[:4], ids=lambda case: ",".join(case) or "plain")
def test_limits_are_those_of_transformers(case: dict[str, Any]) -> None:
    told: dict[str, Any] = {"min_length": 0, "repetition_penalty": 1.0, "max_length": 30} | case
    ids = torch.randint(0, 12, (6, 8), generator=torch.Generator().manual_seed(0))
    scores = torch.randn(6, VOCAB, generator=torch.Generator().manual_seed(1))
    from transformers.generation import logits_process as theirs

    wanted = scores.clone()
    if told["repetition_penalty"] != 1:
        wanted = theirs.RepetitionPenaltyLogitsProcessor(told["repetition_penalty"])(ids, wanted)
    if told.get("no_repeat_ngram"):
        wanted = theirs.NoRepeatNGramLogitsProcessor(told["no_repeat_ngram"])(ids, wanted)
    if told["min_length"]:
        wanted = theirs.MinLengthLogitsProcessor(told["min_length"], END)(ids, wanted)
    before = scores.clone()
    torch.testing.assert_close(Limits(Decoding(**told), Start([2], END))(ids, scores), wanted, rtol=0, atol=0)
    assert scores.equal(before)


@torch.no_grad()
def test_the_nucleus_is_that_of_transformers() -> None:
    from transformers.generation.logits_process import TopPLogitsWarper

    from vltk.caption.nucleus import nucleus

    scores = torch.randn(5, 3000, generator=torch.Generator().manual_seed(0)) * torch.tensor(
        [[0.1], [1], [2], [4], [9]]
    )
    for top_p in (0.3, 0.9, 0.999):
        logprobs, ids = nucleus(scores, top_p)
        kept = [set(row[known > float("-inf")].tolist()) for row, known in zip(ids, logprobs, strict=True)]
        wanted = TopPLogitsWarper(top_p)(None, scores.clone())
        assert kept == [set((row > float("-inf")).nonzero()[:, 0].tolist()) for row in wanted]


@torch.no_grad()
@pytest.mark.skipif("blip" not in parts.names("models/families"), reason="this tree has no BLIP")
@pytest.mark.parametrize("case", [{}, {"min_length": 9}, {"repetition_penalty": 1.3, "length_penalty": 0.5}], ids=str)
def test_captions_of_blip(case: dict[str, Any], tmp_path: Path) -> None:
    """Against BlipForConditionalGeneration.generate: whole batches of images under a prompt."""
    from tests.parity import test_blip_parity as blip

    other, own = blip.theirs("BlipForConditionalGeneration", tmp_path), blip.ours(tmp_path)
    images, prompt = tiny.batch(6)["image"], [blip.DEC, 7, 9]
    told: dict[str, Any] = {"min_length": 0, "max_length": 14, "repetition_penalty": 1.0} | case
    start = Start(prompt, blip.SEP)
    found = beam.search(own, own.begin_captions(images), start, Decoding(method="beam", **told), len(images))
    given = torch.tensor([[*prompt, blip.SEP]] * len(images))
    wanted = other.generate(pixel_values=images, input_ids=given, num_beams=3, do_sample=False, **told)
    for (text,), row in zip(found, wanted[:, len(prompt) :].tolist(), strict=True):
        assert list(text.ids) == (row[: row.index(blip.SEP)] if blip.SEP in row else row)
