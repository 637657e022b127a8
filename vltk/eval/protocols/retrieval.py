"""Zero-shot retrieval both ways by cosine of the contrastive embeddings, several captions an image, ties against.

FLAVA section 5 (arXiv 2112.04482): R@1, R@5 on Flickr30k and COCO; R@10 and the median rank beside them. With `rerank`
the best ones are put in another order by the matching head, as ALBEF (arXiv 2107.07651) does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from vltk.errors import VltkError
from vltk.eval.answers import Answers
from vltk.eval.metrics import retrieval as metrics
from vltk.eval.results import Score

if TYPE_CHECKING:  # features imports torch: seconds that a message about missing data must not cost
    from vltk.eval.features import Samples, Subject

Count = Annotated[int, Field(gt=0)]
Limit = Annotated[int | None, Field(gt=0)]
DIRECTIONS = ("image_to_text", "text_to_image")
MEDIAN_RANK = "median rank"
MEAN_RECALL = "mean recall"
RERANKED = "re-ranked "
CAPTIONS = 5  # of a photo, in most data sets
NAMES = [f"{way} {name}" for way in DIRECTIONS for name in (*(f"R@{k}" for k in metrics.RECALLS), MEDIAN_RANK)]
NAMES += [MEAN_RECALL]


class Retrieval:
    """R@1, R@5, R@10 (percent) and median rank both ways, and the mean of the six recalls, on a data set of pairs.

    The first `captions` texts of each image enter (None: all); `limit` samples are drawn by the seed (None: all).
    `framing`: the whole image squashed to a square, as FLAVA's processors do, or the square in its middle, as CLIP's.
    `rerank` (ALBEF: 128) adds metrics named `re-ranked ...`, for which the model's matching head orders so many of the
    most similar ones of each query anew; the others stay behind them, in the order of their cosines.
    """

    def __init__(
        self,
        *,
        data: str,
        limit: Limit = None,
        captions: Count | None = 5,
        batch_size: Count = 128,
        framing: Literal["squash", "crop"] = "squash",
        rerank: Count | None = None,
    ) -> None:
        self.data, self.limit, self.captions, self.batch_size = data, limit, captions, batch_size
        self.framing, self.rerank = framing, rerank

    @property
    def data_sets(self) -> list[str]:
        return [self.data]

    @property
    def features(self) -> dict[str, list[str]]:
        """What is read of each data set."""
        return {self.data: ["embedding"]}

    @property
    def weight(self) -> float:
        """Images encoded in the time of one sample: a pair takes about half as long, and each caption asks too."""
        return 1 + (self.rerank or 0) * (1 + (self.captions or CAPTIONS)) / 2

    @property
    def needs(self) -> list[str]:
        """Abilities of the model."""
        return ["embedding", *(["match"] if self.rerank else [])]

    @property
    def reads(self) -> list[str]:
        """Parts of the model."""
        return [
            "image",
            "text",
            "image_projection",
            "text_projection",
            *(["fusion", "heads.itm"] if self.rerank else []),
        ]

    @property
    def metrics(self) -> list[str]:
        return [*NAMES, *(f"{RERANKED}{name}" for name in NAMES if self.rerank)]

    def __call__(self, subject: Subject) -> list[Score]:
        """Raises VltkError naming the sample that has no image, no text, or no finite embedding."""
        samples = subject.samples(self.data, self.limit)
        if len(samples) < 2:
            raise VltkError(f"retrieval needs 2 samples or more; {self.data} gave {len(samples)}")
        if self.rerank:
            subject.require("match")
        images = samples.image_embeddings(self.batch_size, self.framing)  # (N, E)
        texts, owner = samples.text_embeddings(self.captions, self.batch_size)  # (M, E), (M,)
        to_text = metrics.image_to_text_ranks(images, texts, owner)
        to_image = metrics.text_to_image_ranks(images, texts, owner)
        scores = _scores(samples, (to_text, to_image), owner)
        if self.rerank:
            scores += _scores(samples, self._reranked(samples, images, texts, owner), owner, RERANKED)
        return scores

    def _reranked(self, samples: Samples, images: Any, texts: Any, owner: Any) -> tuple[Any, Any]:
        from vltk.eval.rerank import Pairs, reranked

        assert self.rerank is not None
        pairs = Pairs(samples, self.captions, self.batch_size, self.framing)
        return reranked(pairs, images, texts, owner, self.rerank)


def _scores(samples: Samples, ranks: tuple[Any, Any], owner: Any, before: str = "") -> list[Score]:
    """All metrics, from the ranks of images (N,) and texts (M,); `owner` (M,) is the image of each text."""
    images = np.arange(len(samples))
    right = (np.bincount(owner, minlength=len(samples)), np.ones(len(owner), np.int64))
    scores = []
    for number, way in enumerate(DIRECTIONS):
        answers = Answers(f"{before}{way}", {"ranks": ranks[number], "clusters": (images, owner)[number]})
        scores += _one_way(samples.split, f"{before}{way}", answers, right[number], len(ranks[1 - number]))
    recalls = [score for score in scores if score.chance is not None]
    mean, chance = (float(np.mean(values)) for values in zip(*((s.value, s.chance) for s in recalls), strict=True))
    ways = np.repeat([0, 1], [len(images), len(owner)])
    both = {"ranks": np.concatenate(ranks), "clusters": np.concatenate([images, owner]), "ways": ways}
    answers = Answers(f"{before}both", both)
    return [*scores, Score(samples.split, f"{before}{MEAN_RECALL}", mean, len(ways), chance, answers=answers)]


def _one_way(split: str, name: str, answers: Answers, right: Any, candidates: int) -> list[Score]:
    """`right` (queries,) counts the right answers among the candidates."""
    ranks, scores = answers["ranks"], []
    for k in metrics.RECALLS:
        value, chance = metrics.recall(ranks, k), metrics.chance_recall(right, candidates, k)
        scores.append(Score(split, f"{name} R@{k}", value, len(ranks), chance, answers=answers))
    median = metrics.median_rank(ranks)
    return [*scores, Score(split, f"{name} {MEDIAN_RANK}", median, len(ranks), answers=answers)]
