"""Nucleus sampling: noise that only its key decides, texts that do not depend on the batch, limits that hold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tests.captioner import ToyCaptioner
from vltk.caption import beam, nucleus
from vltk.caption.contract import Generated, Start
from vltk.caption.decoding import Decoding
from vltk.caption.noise import gumbel, stream
from vltk.errors import VltkError

VOCAB, END = 50, 3
START = Start([2], END, never=[0, 1, 2], known=45)


def images(count: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, 8, 8), generator=torch.Generator().manual_seed(5)).byte()


def model() -> ToyCaptioner:
    torch.manual_seed(1)
    return ToyCaptioner(VOCAB).eval()


@torch.no_grad()
def texts(decoding: Decoding, chosen: list[int], batch: int, seed: int = 0) -> dict[int, list[Generated]]:
    """Of the images by number, `batch` at a time."""
    toy, every = model(), images(40)
    found = {}
    for first in range(0, len(chosen), batch):
        part = chosen[first : first + batch]
        state, keys = toy.begin_captions(every[part]), [f"k{number}" for number in part]
        if decoding.method == "beam":
            made = beam.search(toy, state, START, decoding, len(part))
        else:
            made = nucleus.sample(toy, state, START, decoding, seed, keys)
        found |= dict(zip(part, made, strict=True))
    return found


@pytest.mark.parametrize("options", [{"samples": 3, "top_p": 0.95}, {"method": "beam", "samples": 2}], ids=str)
def test_texts_do_not_depend_on_their_batch(options: dict[str, Any]) -> None:
    decoding = Decoding(min_length=4, max_length=16, **options)
    alone, together = texts(decoding, list(range(40)), 1), texts(decoding, list(range(40)), 40)
    shuffled = texts(decoding, [*range(39, -1, -3), *range(0, 20)], 7)
    for number, found in together.items():
        assert [one.ids for one in found] == [one.ids for one in alone[number]]
        assert [one.logprob for one in found] == pytest.approx([one.logprob for one in alone[number]], abs=1e-5)
    assert all([one.ids for one in found] == [one.ids for one in alone[number]] for number, found in shuffled.items())
    assert len({one.ids for found in together.values() for one in found}) > 20  # they do differ


def test_another_seed_key_or_number_draws_another_text() -> None:
    decoding = Decoding(min_length=4, max_length=16, top_p=1.0, samples=2)
    one, other = (texts(decoding, list(range(10)), 10, seed) for seed in (0, 1))
    assert sum(one[number][0].ids == other[number][0].ids for number in one) < 3
    assert sum(found[0].ids == found[1].ids for found in one.values()) < 3


@pytest.mark.parametrize("method", ["nucleus", "beam"])
def test_lengths_specials_and_unknown_ids(method: Any) -> None:
    decoding = Decoding(method=method, min_length=6, max_length=9, top_p=1.0, repetition_penalty=1.0)
    for (one,) in texts(decoding, list(range(40)), 40).values():
        whole = len(START.prompt) + len(one.ids) + one.finished
        assert 6 < whole <= 9  # the prompt and the end are counted, as transformers does
        assert one.finished or whole == 9
        assert END not in one.ids and not {0, 1, 2} & set(one.ids) and max(one.ids) < 45


@torch.no_grad()
def test_the_mean_log_probability_is_that_of_the_text() -> None:
    decoding = Decoding(min_length=0, max_length=12, top_p=0.9, temperature=0.7, repetition_penalty=1.3)
    for options in (decoding, decoding.model_copy(update={"method": "beam"})):
        for number, (one,) in texts(options, list(range(6)), 6).items():
            toy = model()
            state, ids, total = toy.begin_captions(images(40)[[number]]), torch.tensor([list(START.prompt)]), 0.0
            whole = [*one.ids, *([END] if one.finished else [])]
            for token in whole:
                total += float(toy.next_logits(ids, state).log_softmax(-1)[0, token])
                ids = torch.tensor([[token]])
            assert one.logprob == pytest.approx(total / len(whole), abs=1e-4)


def test_images_are_encoded_once() -> None:
    toy = model()
    with torch.no_grad():
        nucleus.sample(toy, toy.begin_captions(images(5)), START, Decoding(samples=4), 0, list("abcde"))
    assert toy.runs == 5


def test_noise_is_gumbel_and_decided_by_its_key() -> None:
    streams = torch.tensor([stream(0, "a", 0), stream(0, "a", 1), stream(0, "b", 0), stream(1, "a", 0)])
    ids = torch.arange(20000).expand(4, -1)
    noise = gumbel(streams, 3, ids)
    assert noise.mean(1).tolist() == pytest.approx([np.euler_gamma] * 4, abs=0.04)
    assert noise.var(1).tolist() == pytest.approx([np.pi**2 / 6] * 4, abs=0.1)
    assert np.abs(np.corrcoef(noise.numpy()) - np.eye(4)).max() < 0.03
    assert gumbel(streams[2:3], 3, torch.tensor([[7, 19999]])).tolist() == [noise[2, [7, 19999]].tolist()]
    assert not gumbel(streams, 4, ids).equal(noise)


def test_draws_follow_the_probabilities() -> None:
    """Frequencies of 4,000 draws against the softmax inside the nucleus."""
    scores = torch.tensor([3.0, 2.0, 1.0, 0.0, -4.0]).expand(4000, -1)
    drawn = nucleus._draw(scores, 0.95, torch.tensor([stream(0, f"s{n}", 0) for n in range(4000)]), 0)
    wanted = scores[0, :3].softmax(0)
    assert torch.bincount(drawn, minlength=5)[3:].tolist() == [0, 0]
    found = torch.bincount(drawn, minlength=5)[:3] / 4000
    assert found.tolist() == pytest.approx(wanted.tolist(), abs=0.03)


def test_a_nucleus_larger_than_the_first_look() -> None:
    scores = torch.zeros(2, 1000)
    scores[1, 5] = 30.0
    logprobs, ids = nucleus.nucleus(scores, 0.9005)
    assert int((logprobs[0] > float("-inf")).sum()) == 901
    assert ids[1, 0] == 5 and int((logprobs[1] > float("-inf")).sum()) == 1


def test_options_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="min_length 30 should be below max_length 30"):
        Decoding(min_length=30)
    with pytest.raises(ValueError, match="samples 4 given, a beam search keeps 3 texts"):
        Decoding(method="beam", samples=4)


def test_a_model_without_a_decoder_and_a_prompt_too_long() -> None:
    from vltk.caption.generate import Writer

    class Words:
        cls, sep, pad, size = 2, END, 0, VOCAB
        special = np.array([0, 1, 2, 3])

    with pytest.raises(VltkError, match="a/run does not write texts"):
        Writer(torch.nn.Linear(1, 1), Words(), Decoding(), name="a/run")
    with pytest.raises(VltkError, match="max_length 4 counts the prompt, which has 5 tokens"):
        Writer(ToyCaptioner(VOCAB, prompt=(7, 8, 9, 10)), Words(), Decoding(min_length=1, max_length=4))


@pytest.mark.parametrize("method", ["nucleus", "beam"])
def test_broken_weights(method: Any) -> None:
    from vltk.caption.generate import Writer

    class Words:
        cls, sep, pad, size = 2, END, 0, VOCAB
        special = np.array([0, 1, 2, 3])

        def decode(self, ids: Any) -> str:
            return ""

    toy = model()
    toy.head.weight.data[7] = float("nan")
    writer = Writer(toy, Words(), Decoding(method=method, min_length=2, max_length=6))
    with pytest.raises(VltkError, match="the text of sample 'k0' are no numbers"):
        writer.write(images(2), ["k0", "k1"])
