"""Texts with some tokens hidden, and what a text encoder with an MLM head makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from vltk.data.batch import padded
from vltk.data.draft import rng_for
from vltk.data.views.masked_text import MaskedText
from vltk.errors import VltkError
from vltk.models import inference

if TYPE_CHECKING:
    from vltk.eval.features import Subject

Ints = NDArray[np.int64]
Place = tuple[int, int]  # of a text: the sample's position in its data set, the number of the text there


@dataclass(frozen=True)
class Hidden:
    """A text `(T,)` with its special tokens, and where tokens of it are hidden, `(T,)` bool."""

    ids: Ints
    at: NDArray[np.bool_]


@dataclass(frozen=True)
class Guesses:
    """Over all hidden tokens: the ids wanted (K,), whether each was found (K,), its loss in nats (K,)."""

    wanted: Ints
    right: NDArray[np.bool_]
    losses: NDArray[np.float32]

    @property
    def accuracy(self) -> float:
        """Percent."""
        return 100 * float(self.right.mean())

    @property
    def loss(self) -> float:
        return float(self.losses.mean(dtype=np.float64))


def hide(texts: Mapping[Place, Ints], ratio: float, seed: int) -> list[Hidden]:
    """Hides `ratio` of the tokens of each text, at least one, as a pure function of the seed and the text's place."""
    chooser = MaskedText(ratio=ratio)
    found = []
    for place, ids in texts.items():
        if len(ids) > 2:  # more than [CLS] and [SEP]
            inside = np.arange(len(ids)) - 1
            inside[-1] = -1
            found.append(Hidden(ids, chooser.choose(inside, rng_for(seed, *place, "masked_text"))))
    return found


def guess(subject: Subject, texts: Sequence[Hidden], batch_size: int) -> Guesses:
    """What the model finds at the hidden tokens. Raises VltkError where it has no text encoder or no MLM head."""
    subject.require("encode_texts")
    model, tokenizer = subject.model(), subject.trained.tokenizer
    if "mlm" not in getattr(model, "heads", {}):
        raise VltkError(f"the run {subject.trained.name} has no MLM head: it cannot find hidden words")
    order = sorted(texts, key=lambda text: len(text.ids))  # alike lengths together: little padding
    parts = []
    for first in range(0, len(order), batch_size):
        batch = order[first : first + batch_size]
        ids, lengths = padded([text.ids for text in batch], tokenizer.pad)  # (b, T), (b,)
        at = torch.zeros(ids.shape, dtype=torch.bool)
        for row, text in enumerate(batch):
            at[row, : len(text.at)] = torch.from_numpy(text.at)
        wanted, seen = ids[at], ids.masked_fill(at, tokenizer.mask)
        device = subject.device
        logits = inference.predict_words(model, seen.to(device), lengths.to(device), at.to(device)).float().cpu()
        losses = F.cross_entropy(logits, wanted, reduction="none")
        parts.append(Guesses(wanted.numpy(), (logits.argmax(1) == wanted).numpy(), losses.numpy()))
    return _joined(parts, subject)


def _joined(parts: list[Guesses], subject: Subject) -> Guesses:
    if not parts:
        return Guesses(np.empty(0, np.int64), np.empty(0, np.bool_), np.empty(0, np.float32))
    wanted, right, losses = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("wanted", "right", "losses")
    )
    if not np.isfinite(losses).all():
        trained = subject.trained
        raise VltkError(f"the loss of {trained.name} at step {trained.step} is not finite: its weights are broken")
    return Guesses(wanted, right, losses)


def unigram(texts: Mapping[Place, Ints], wanted: Ints) -> tuple[float, float]:
    """Accuracy (percent) and loss (nats) on `wanted` (K,) of a model that knows only how often each token stands in
    `texts`: it guesses the most frequent one, and gives each its share as probability."""
    counts = np.bincount(np.concatenate([ids[1:-1] for ids in texts.values()]))
    shares = counts / counts.sum()
    return 100 * float((wanted == shares.argmax()).mean()), -float(np.log(shares[wanted]).mean())
