"""Masked language modelling on held-out text: how many hidden tokens the text encoder finds (BERT, arXiv 1810.04805).

Each hidden token is a [MASK] and nothing else: the tenth that training leaves as it is would give answers away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from vltk.errors import VltkError
from vltk.eval.results import Score

if TYPE_CHECKING:  # features and words import torch: seconds that a message about missing data must not cost
    from vltk.eval.features import Subject

Count = Annotated[int, Field(gt=0)]
Limit = Annotated[int | None, Field(gt=0)]
Share = Annotated[float, Field(gt=0, lt=1)]


class MaskedText:
    """Accuracy (percent) and loss (nats) on the hidden tokens of `data`: `ratio` of each text, drawn by the seed.

    The first `captions` texts of each sample enter, cut to the longest that the run was trained on; `limit` samples are
    drawn by the seed (None: all). Beside it the unigram model, which answers with the frequencies of the tokens of
    these very texts: a model that never looks at the words around does no better on them.
    """

    def __init__(
        self, *, data: str, ratio: Share = 0.15, captions: Count = 1, limit: Limit = None, batch_size: Count = 128
    ) -> None:
        self.data, self.ratio, self.captions, self.limit, self.batch_size = data, ratio, captions, limit, batch_size

    @property
    def data_sets(self) -> list[str]:
        return [self.data]

    @property
    def needs(self) -> list[str]:
        """Abilities of the model."""
        return ["words"]

    @property
    def reads(self) -> list[str]:
        """Parts of the model."""
        return ["text", "heads.mlm"]

    @property
    def metrics(self) -> list[str]:
        return ["accuracy", "loss", "unigram accuracy", "unigram loss"]

    def __call__(self, subject: Subject) -> list[Score]:
        """Raises VltkError for a run without text encoder or MLM head, and for texts without a token."""
        from vltk.eval import words

        samples = subject.samples(self.data, self.limit)
        texts = samples.token_ids(self.captions)
        found = words.guess(subject, words.hide(texts, self.ratio, subject.seed), self.batch_size)
        if not len(found.wanted):
            raise VltkError(f"masked_text: the texts of {self.data} have no token to hide")
        common, loss = words.unigram(texts, found.wanted)
        n = len(found.wanted)
        return [
            Score(samples.split, "accuracy", found.accuracy, n, common),
            Score(samples.split, "loss", found.loss, n, loss),
            Score(samples.split, "unigram accuracy", common, n),
            Score(samples.split, "unigram loss", loss, n),
        ]
