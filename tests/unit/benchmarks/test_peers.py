"""The transformers models of the learning benchmark really learn, and read the text to its end."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.peers.clip import Clip
from benchmarks.peers.flava import Flava, mask_words
from benchmarks.peers.peer import Peer, Sizes, Words
from benchmarks.peers.photos import Photos, pad
from benchmarks.peers.training import Budget, Settings, Trainer, train

SIZES = Sizes(width=32, heads=2, mlp=64, image_depth=2, text_depth=2, fusion_depth=1, image=32, patch=16, max_length=12)
WORDS = Words(size=40, pad=0, cls=3, sep=4, mask=5)
PEERS: list[Any] = [Clip, Flava]


def _photos(count: int = 16, side: int = 32) -> Photos:
    rng = np.random.default_rng(0)
    images = np.broadcast_to(rng.integers(0, 256, (count, 1, 1, 3), dtype=np.uint8), (count, side, side, 3)).copy()
    texts = [[np.array([WORDS.cls, 10 + i, *rng.integers(30, 40, n), WORDS.sep]) for n in (1, 4)] for i in range(count)]
    return Photos(images, texts)


def _peer(kind: Any) -> Peer:
    torch.manual_seed(0)
    peer: Peer = kind(SIZES, WORDS, batch_size=8)
    return peer


@pytest.mark.parametrize("kind", PEERS)
def test_loss_falls_and_retrieval_rises(kind: Any) -> None:
    photos = _photos()
    trainer = Trainer(_peer(kind), photos, Settings(lr=1e-3, evaluate_every=100))
    records: list[dict[str, Any]] = train(trainer, photos, SIZES.image, WORDS.pad, Budget(0, 200), lambda record: None)
    assert [record["step"] for record in records] == [100, 200]
    assert math.isfinite(records[0]["loss"]) and records[-1]["loss"] < records[0]["loss"]
    assert records[-1]["text_to_image R@1"] > 50  # chance is 6 %


@pytest.mark.parametrize("kind", PEERS)
def test_padding_does_not_change_a_text(kind: Any) -> None:
    peer = _peer(kind)
    peer.model.eval()
    short, long = np.array([3, 11, 4]), np.array([3, 12, 31, 32, 4])
    alone = peer.embed_text(*pad([short], WORDS.pad))
    torch.testing.assert_close(peer.embed_text(*pad([short, long], WORDS.pad))[:1], alone, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(peer.embed_text(*pad([np.array([3, 12, 4])], WORDS.pad)), alone, atol=1e-3)


def test_masking_leaves_special_tokens_and_masks_at_least_one() -> None:
    ids, real = pad([np.array([3, 11, 4]), np.array([3, 12, 31, 32, 4])] * 50, WORDS.pad)
    masked, labels = mask_words(ids, real, WORDS, np.random.default_rng(0))
    chosen = labels != -100
    assert (chosen.sum(1) >= 1).all()
    assert not chosen[(ids == WORDS.cls) | (ids == WORDS.sep) | ~real].any()
    assert torch.equal(labels[chosen], ids[chosen]) and torch.equal(masked[~chosen], ids[~chosen])


def test_clip_refuses_a_vocabulary_that_it_cannot_pool() -> None:
    with pytest.raises(ValueError, match="pool"):
        Clip(SIZES, Words(size=40, pad=0, cls=1, sep=2, mask=3))
