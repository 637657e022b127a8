"""Zero-shot retrieval both ways by cosine of the contrastive embeddings, several captions an image, ties against.

FLAVA section 5 (arXiv 2112.04482): R@1, R@5 on Flickr30k and COCO; R@10 and the median rank beside them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from vltk.errors import VltkError
from vltk.eval.metrics import retrieval as metrics
from vltk.eval.results import Score

if TYPE_CHECKING:  # features imports torch: seconds that a message about missing data must not cost
    from vltk.eval.features import Subject

Count = Annotated[int, Field(gt=0)]
Limit = Annotated[int | None, Field(gt=0)]
DIRECTIONS = ("image_to_text", "text_to_image")
MEDIAN_RANK = "median rank"
MEAN_RECALL = "mean recall"


class Retrieval:
    """R@1, R@5, R@10 (percent) and median rank both ways, and the mean of the six recalls, on a data set of pairs.

    The first `captions` texts of each image enter; `limit` samples are drawn by the seed (None: all).
    """

    def __init__(self, *, data: str, limit: Limit = None, captions: Count = 5, batch_size: Count = 128) -> None:
        self.data, self.limit, self.captions, self.batch_size = data, limit, captions, batch_size

    @property
    def data_sets(self) -> list[str]:
        return [self.data]

    @property
    def metrics(self) -> list[str]:
        names = [*(f"R@{k}" for k in metrics.RECALLS), MEDIAN_RANK]
        return [*(f"{way} {name}" for way in DIRECTIONS for name in names), MEAN_RECALL]

    def __call__(self, subject: Subject) -> list[Score]:
        """Raises VltkError naming the sample that has no image, no text, or no finite embedding."""
        samples = subject.samples(self.data, self.limit)
        if len(samples) < 2:
            raise VltkError(f"retrieval needs 2 samples or more; {self.data} gave {len(samples)}")
        images = samples.image_embeddings(self.batch_size)  # (N, E)
        texts, owner = samples.text_embeddings(self.captions, self.batch_size)  # (M, E), (M,)
        own_texts, own_images = np.bincount(owner, minlength=len(images)), np.ones(len(texts), np.int64)
        to_text = metrics.image_to_text_ranks(images, texts, owner)
        to_image = metrics.text_to_image_ranks(images, texts, owner)
        scores = [
            *_scores(samples.split, DIRECTIONS[0], to_text, own_texts, len(texts)),
            *_scores(samples.split, DIRECTIONS[1], to_image, own_images, len(images)),
        ]
        recalls = [score for score in scores if score.chance is not None]
        mean, chance = (float(np.mean(values)) for values in zip(*((s.value, s.chance) for s in recalls), strict=True))
        return [*scores, Score(samples.split, MEAN_RECALL, mean, len(images) + len(texts), chance)]


def _scores(split: str, direction: str, ranks: metrics.Ints, right: metrics.Ints, candidates: int) -> list[Score]:
    """The metrics of one direction; `right` (queries,) counts the right answers among the candidates."""
    scores = []
    for k in metrics.RECALLS:
        chance = metrics.chance_recall(right, candidates, k)
        scores.append(Score(split, f"{direction} R@{k}", metrics.recall(ranks, k), len(ranks), chance))
    return [*scores, Score(split, f"{direction} {MEDIAN_RANK}", metrics.median_rank(ranks), len(ranks))]
