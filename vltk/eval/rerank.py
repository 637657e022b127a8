"""Retrieval in two steps: the most similar candidates of each query, put in order by the matching head.

Unimodal states are encoded once and kept on the device where the model is; pairs run through the fused encoder alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from vltk.data.batch import padded
from vltk.eval.metrics.retrieval import SAME, Floats, Ints
from vltk.models import inference
from vltk.models.tokens import Text

if TYPE_CHECKING:
    from vltk.eval.features import Framing, Samples

QUERIES = 256  # compared with all candidates at a time


class Pairs:
    """Images and texts of `samples`, and how well the matching head finds that they belong together."""

    def __init__(self, samples: Samples, captions: int | None, batch_size: int, framing: Framing) -> None:
        self.samples, self.batch_size = samples, batch_size
        subject = samples.subject
        self.model, self.device, tokenizer = subject.model(), subject.device, subject.trained.tokenizer
        texts, self.owner, self.keys = samples.texts(captions)
        self._ids = [tokenizer.encode(text)[0] for text in texts]
        self._pad = tokenizer.pad
        self._images = torch.cat([images for _, images in samples.images(batch_size, framing)])  # (N, 3, S, S) uint8

    def match(self, images: Ints, texts: Ints) -> Floats:
        """(P,) and (P,) numbers -> (P,) the logit of a match minus that of none."""
        found = np.empty(len(images), np.float32)
        for first in range(0, len(images), self.batch_size):
            part = slice(first, first + self.batch_size)
            found[part] = self._match(images[part], texts[part]).float().cpu().numpy()
        return found

    def _match(self, images: Ints, texts: Ints) -> Tensor:
        """Each image and each text of the batch is encoded once, however many pairs it is in."""
        own_images, image_rows = np.unique(images, return_inverse=True)
        own_texts, text_rows = np.unique(texts, return_inverse=True)
        ids, lengths = padded([self._ids[text] for text in own_texts], self._pad)
        return inference.match_pairs(
            self.model,
            self._images[own_images].to(self.device),
            Text(ids.to(self.device), lengths.to(self.device)),
            torch.from_numpy(image_rows).to(self.device),
            torch.from_numpy(text_rows).to(self.device),
        )


def reranked(pairs: Pairs, images: Floats, texts: Floats, owner: Ints, k: int) -> tuple[Ints, Ints]:
    """images (N, E), texts (M, E), owner (M,) -> the ranks (N,) of texts and (M,) of images; 0 is the first.

    Of each query the `k` most similar are matched. A right answer among them has as its rank the number of wrong ones
    there that match at least as well; one that is not among them keeps its rank by cosine.
    """
    every = np.arange(len(images))
    to_text = _ranks(pairs, images, texts, every, owner, k, True)
    to_image = _ranks(pairs, texts, images, owner, every, k, False)
    return to_text, to_image


def _ranks(pairs: Pairs, queries: Floats, candidates: Floats, own: Ints, of: Ints, k: int, images_ask: bool) -> Ints:
    """Queries (Q, E) of the images `own` (Q,), candidates (C, E) of the images `of` (C,) -> (Q,)."""
    k = min(k, len(candidates))
    ranks = np.empty(len(queries), np.int64)
    for first in range(0, len(queries), QUERIES):
        rows = np.arange(first, min(first + QUERIES, len(queries)))
        cosines = queries[rows] @ candidates.T  # (q, C)
        right = of[None] == own[rows, None]
        best = np.where(right, cosines, -np.inf).max(1)
        ranks[rows] = ((cosines >= best[:, None] - SAME) & ~right).sum(1)  # by cosine
        chosen = np.argsort(-cosines, axis=1, kind="stable")[:, :k]  # (q, k)
        asked, answered = np.repeat(rows, k), chosen.ravel()
        logits = pairs.match(*((asked, answered) if images_ask else (answered, asked))).reshape(chosen.shape)
        hit = np.take_along_axis(right, chosen, 1)
        top = np.where(hit, logits, -np.inf).max(1)
        among = hit.any(1) & (ranks[rows] < k)  # ties of cosines count against, as everywhere
        ranks[rows[among]] = ((logits >= top[:, None]) & ~hit).sum(1)[among]
        pairs.samples.subject.watch("pairs", int(rows[-1]) + 1, len(queries))
    return ranks
