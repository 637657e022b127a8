"""Ranks against a brute-force twin, ties against, chance against enumeration."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from vltk.eval.metrics import retrieval as metrics


def unit(rng: np.random.Generator, *shape: int) -> metrics.Floats:
    rows = rng.normal(size=shape).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def twin(images: metrics.Floats, texts: metrics.Floats, owner: metrics.Ints) -> tuple[list[int], list[int]]:
    """The two rules, word by word."""
    cosine = [[float(np.dot(image, text)) for text in texts] for image in images]
    to_text, to_image = [], []
    for i in range(len(images)):
        best = max(cosine[i][j] for j in range(len(texts)) if owner[j] == i)
        to_text.append(sum(cosine[i][j] >= best - 1e-6 for j in range(len(texts)) if owner[j] != i))
    for j in range(len(texts)):
        right = cosine[owner[j]][j]
        to_image.append(sum(cosine[i][j] >= right - 1e-6 for i in range(len(images)) if i != owner[j]))
    return to_text, to_image


def test_ranks_equal_the_brute_force_twin_with_uneven_captions_and_ties(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "BLOCK", 4)
    rng = np.random.default_rng(0)
    owner = np.repeat(np.arange(11), [1, 5, 2, 3, 1, 1, 4, 5, 2, 1, 3])
    images = unit(rng, 11, 3)
    texts = unit(rng, len(owner), 3) * 0.3 + images[owner]
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    texts[owner == 3] = texts[0]  # the same caption under two images: a tie for both
    images[9] = images[10]
    to_text, to_image = twin(images, texts, owner)
    assert metrics.image_to_text_ranks(images, texts, owner).tolist() == to_text
    assert metrics.text_to_image_ranks(images, texts, owner).tolist() == to_image
    assert 0 < metrics.recall(metrics.text_to_image_ranks(images, texts, owner), 1) < 100


def test_a_collapsed_encoder_scores_nothing() -> None:
    same = np.broadcast_to(unit(np.random.default_rng(0), 1, 37), (50, 37))
    owner = np.repeat(np.arange(50), 5)
    texts = np.broadcast_to(same[0], (250, 37))
    for ranks in (metrics.image_to_text_ranks(same, texts, owner), metrics.text_to_image_ranks(same, texts, owner)):
        assert [metrics.recall(ranks, k) for k in metrics.RECALLS] == [0, 0, 0]
    assert metrics.median_rank(metrics.text_to_image_ranks(same, texts, owner)) == 50


def test_own_captions_do_not_count_against_an_image() -> None:
    images = np.eye(2, dtype=np.float32)
    texts = images[[0, 0, 0, 1]]
    assert metrics.image_to_text_ranks(images, texts, np.array([0, 0, 0, 1])).tolist() == [0, 0]


def test_chance_equals_enumeration() -> None:
    hits = [min(order.index(right) for right in (0, 1)) < 2 for order in permutations(range(5))]
    assert metrics.chance_recall(np.array([2]), 5, 2) == pytest.approx(100 * float(np.mean(hits)))
    assert metrics.chance_recall(np.ones(7, np.int64), 1000, 10) == pytest.approx(1.0)
    assert metrics.chance_recall(np.ones(7, np.int64), 7, 10) == 100


def test_recall_and_median() -> None:
    ranks = np.array([0, 4, 5, 9, 10])
    assert [metrics.recall(ranks, k) for k in metrics.RECALLS] == [20, 40, 80]
    assert metrics.median_rank(ranks) == 6
