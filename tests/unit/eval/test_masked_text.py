"""The score of masked text on models that know all, nothing, or only how often words come; the same masks each time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vltk.data.shard import Record, write_dataset
from vltk.data.text import Tokenizer
from vltk.errors import VltkError
from vltk.eval import words
from vltk.eval.features import Subject
from vltk.eval.protocols.masked_text import MaskedText
from vltk.eval.results import Score

TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "c", "d"]
TEXTS = ["a a b a c a a d", "a b a a", "c a", "a d a a b a a a a b"]


class Guesser(nn.Module):
    """Its head gives each hidden token the logits that `answer` has for the true one."""

    def __init__(self, answer: Tensor) -> None:
        super().__init__()
        self.answer = nn.Parameter(answer)
        self.text, self.heads = "an encoder", {"mlm": None}

    def encode_texts(self) -> None: ...


@dataclass
class Trained:
    model: Any
    tokenizer: Any
    stage: Any
    name: str = "fake/text"
    step: int = 3


@dataclass
class Stage:
    streams: dict[str, Any]


@dataclass
class Stream:
    max_length: int | None = None


@pytest.fixture
def subject(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes a subject of an answer (V, V); the texts are the data set `books`."""
    monkeypatch.setenv("VLTK_DATA", str(tmp_path))
    write_dataset(tmp_path / "books", [Record(f"t{n}", None, [text], {}) for n, text in enumerate(TEXTS)], {})
    (tmp_path / "vocab.txt").write_text("\n".join(TOKENS) + "\n")
    tokenizer = Tokenizer(tmp_path / "vocab.txt", 12)
    true = {place: ids for place, ids in zip([(n, 0) for n in range(4)], map(tokenizer.encode, TEXTS), strict=True)}

    def predict(model: Guesser, ids: Tensor, lengths: Tensor, at: Tensor) -> Tensor:
        assert (ids[at] == tokenizer.mask).all(), "a hidden token can be seen"
        rows = []
        for row in range(len(ids)):
            (text,) = [
                text for text, _ in true.values() if len(text) == lengths[row] and _same(text, ids[row], at[row])
            ]
            rows += [model.answer[text[spot]] for spot in at[row].nonzero().flatten().tolist()]
        return torch.stack(rows)

    monkeypatch.setattr(words.inference, "predict_words", predict)

    def make(answer: Tensor) -> Subject:
        return Subject(Trained(Guesser(answer), tokenizer, Stage({"text": Stream()})))  # type: ignore[arg-type]

    return make


def _same(text: np.ndarray, seen: Tensor, at: Tensor) -> bool:
    return all(
        hidden or token == wanted
        for token, wanted, hidden in zip(seen.tolist(), text.tolist(), at.tolist(), strict=False)
    )


def scored(subject: Subject, **options: Any) -> dict[str, Score]:
    with torch.no_grad():
        return {score.metric: score for score in MaskedText(data="books", **options)(subject)}


def test_a_model_that_knows_every_word(subject: Any) -> None:
    scores = scored(subject(torch.eye(len(TOKENS)) * 50), ratio=0.5)
    assert list(scores) == ["accuracy", "loss", "unigram accuracy", "unigram loss"]
    assert (scores["accuracy"].value, scores["loss"].value) == (100, pytest.approx(0, abs=1e-6))
    assert scores["accuracy"].n == 4 + 2 + 1 + 5 and scores["accuracy"].split == "books"
    assert scores["accuracy"].chance == scores["unigram accuracy"].value < 100


def test_a_model_that_only_counts_words_is_the_unigram_model(subject: Any) -> None:
    """16 `a`, 4 `b`, 2 `c`, 2 `d` of 24 words; its logits are the logarithms of their shares."""
    counts = torch.tensor([1e-9] * 5 + [16, 4, 2, 2])
    scores = scored(subject((counts / 24).log().expand(9, 9).clone()), ratio=0.5, batch_size=2)
    assert scores["accuracy"].value == scores["unigram accuracy"].value
    assert scores["loss"].value == pytest.approx(scores["unigram loss"].value, rel=1e-5)


def test_the_unigram_model_by_hand() -> None:
    """Of 3 `5` and 1 `6` the guess is 5: right in 2 of 3; losses -ln 0.75, -ln 0.75, -ln 0.25."""
    texts = {(0, 0): np.array([2, 5, 5, 3]), (1, 0): np.array([2, 5, 6, 3])}
    accuracy, loss = words.unigram(texts, np.array([5, 5, 6]))
    assert accuracy == pytest.approx(200 / 3)
    assert loss == pytest.approx((2 * -np.log(0.75) - np.log(0.25)) / 3)


def test_masks_are_a_matter_of_the_seed_and_the_text() -> None:
    """Other texts beside one, and another number of them, leave its mask alone."""
    ids = np.array([2, *([5] * 40), 3])
    few, many = {(7, 0): ids}, {(3, 0): ids, (7, 0): ids, (7, 1): ids}
    one, *_ = words.hide(few, 0.15, seed=0)
    others = words.hide(many, 0.15, seed=0)
    assert (one.at == others[1].at).all() and not (others[0].at == others[1].at).all()
    assert not (words.hide(few, 0.15, seed=1)[0].at == one.at).all()
    assert one.at.sum() == 6 and not one.at[0] and not one.at[-1]


def test_what_cannot_be_scored(subject: Any) -> None:
    blind = subject(torch.eye(len(TOKENS)))
    blind.trained.model.heads = {}
    with pytest.raises(VltkError, match="fake/text has no MLM head"):
        scored(blind)
    broken = subject(torch.full((9, 9), float("nan")))
    with pytest.raises(VltkError, match="the loss of fake/text at step 3 is not finite"):
        scored(broken)


def test_texts_are_cut_to_what_the_run_was_trained_on(subject: Any) -> None:
    made = subject(torch.eye(len(TOKENS)))
    made.trained.tokenizer.max_length = 6
    assert max(len(ids) for ids in made.samples("books").token_ids(1).values()) == 6
    made.trained.stage.streams["text"].max_length = 9
    assert max(len(ids) for ids in made.samples("books").token_ids(1).values()) == 9
