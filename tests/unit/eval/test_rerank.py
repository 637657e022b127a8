"""Re-ranking against a loop over every pair, and what a matching head can and cannot mend."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests import tiny
from vltk.data.batch import padded
from vltk.errors import VltkError
from vltk.eval.features import Subject
from vltk.eval.metrics import retrieval as metrics
from vltk.eval.protocols.retrieval import Retrieval
from vltk.eval.rerank import Pairs, reranked
from vltk.models.tokens import Text


class Tokenizer:
    """`3 7` -> [CLS] and these ids."""

    pad, digest, max_length = 0, "words", 24

    def encode(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        ids = np.array([2, *map(int, text.split())])
        return ids, np.zeros(len(ids))


@pytest.fixture(params=["flava", "blip", "albef"])
def subject(write_pairs: Callable[..., None], tmp_path: Path, request: pytest.FixtureRequest) -> Subject:
    """A model at random weights and twelve images with two texts of two lengths each."""
    write_pairs("pairs/dev", [[f"{5 + index}", f"{20 + index} {6 + index}"] for index in range(12)])
    given: Any = type("Trained", (), {})()
    given.model, given.tokenizer = getattr(tiny, request.param)(seed=3), Tokenizer()
    given.name, given.step = "a/joint", 1
    given.image = type("Image", (), {"size": tiny.IMAGE})
    return Subject(given)


def logits(subject: Subject) -> tuple[np.ndarray, np.ndarray]:
    """(N, M) one pair at a time, and the image of each text (M,)."""
    samples = subject.samples("pairs/dev")
    texts, owner, _ = samples.texts(None)
    model: Any = subject.model()
    images = torch.cat([images for _, images in samples.images(4)])
    found = np.empty((len(images), len(texts)), np.float32)
    for column, text in enumerate(texts):
        ids, lengths = padded([Tokenizer().encode(text)[0]], 0)
        one = Text(ids, lengths)
        words = model.encode_texts([one], [None])[0]
        for row in range(len(images)):
            ground = model.ground(model.encode_images(images[row : row + 1], [None], [None])[0])
            first = torch.zeros(1, dtype=torch.long)
            fused = (
                model.fuse(ground, words, one)
                if hasattr(model, "fuse")
                else model.pair(ground, None, one, first, first)
            )
            pair = model.match(fused)[0].detach()
            found[row, column] = pair[1] - pair[0]
    return found, owner


def test_ranks_are_those_of_a_loop_over_all_pairs(subject: Subject) -> None:
    by_match, owner = logits(subject)
    samples = subject.samples("pairs/dev")
    images, (texts, _) = samples.image_embeddings(4), samples.text_embeddings(None, 4)
    pairs = Pairs(samples, None, 5, "squash")
    np.testing.assert_allclose(
        pairs.match(np.repeat(np.arange(12), 24), np.tile(np.arange(24), 12)).reshape(12, 24), by_match, atol=1e-5
    )
    for k in (3, 24):
        to_text, to_image = reranked(pairs, images, texts, owner, k)
        for query in range(12):
            first = np.argsort(-(images[query] @ texts.T), kind="stable")[:k]
            own = [by_match[query, text] for text in first if owner[text] == query]
            if own:
                wrong = [by_match[query, text] for text in first if owner[text] != query]
                assert to_text[query] == sum(value >= max(own) for value in wrong)
            else:
                assert to_text[query] == metrics.image_to_text_ranks(images, texts, owner)[query]
        for query in range(24):
            first = np.argsort(-(images @ texts[query]), kind="stable")[: min(k, 12)]
            if owner[query] in first:
                own_logit = by_match[owner[query], query]
                assert to_image[query] == sum(by_match[image, query] >= own_logit for image in first) - 1
            else:
                assert to_image[query] == metrics.text_to_image_ranks(images, texts, owner)[query]


def test_metrics_of_their_own(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """A head that knows the pairs mends every query whose right answer is among the k first."""
    owner = np.repeat(np.arange(12), 2)
    monkeypatch.setattr(Pairs, "match", lambda self, images, texts: (owner[texts] == images).astype(np.float32))
    task = Retrieval(data="pairs/dev", captions=None, rerank=24)
    found = {score.metric: score.value for score in task(subject)}
    assert list(found) == task.metrics and len(found) == 18
    assert found["re-ranked image_to_text R@1"] == found["re-ranked text_to_image R@1"] == 100
    assert found["text_to_image R@1"] < 60
    monkeypatch.setattr(Pairs, "match", lambda self, images, texts: np.zeros(len(images), np.float32))
    found = {score.metric: score.value for score in task(subject)}
    assert found["re-ranked image_to_text R@1"] == found["re-ranked text_to_image R@1"] == 0  # all are ties


def test_a_model_without_a_matching_head_is_refused(subject: Subject) -> None:
    subject.trained.model = tiny.clip()
    with pytest.raises(VltkError, match="a/joint is without match"):
        Retrieval(data="pairs/dev", rerank=4)(subject)


def test_pooled_places_follow_their_texts() -> None:
    model: Any = tiny.clip()
    ids = torch.tensor([[2, 9, 3, 0], [2, 8, 7, 3]])
    tokens = model.encode_texts([Text(ids, torch.tensor([3, 4]))], [None])[0]
    rows = torch.tensor([1, 0, 1])
    torch.testing.assert_close(tokens.take(rows).cls, tokens.cls[rows])
