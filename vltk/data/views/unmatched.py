"""Unmatched pairs for image-text matching: some samples take the text of another one (flava.md section 2.1)."""

from __future__ import annotations

import numpy as np

from vltk.data.draft import Draft, Draws


class Unmatched:
    """`matched`: `()` bool, False with `probability`, when the text is another sample's; `positive`: `()` bool.

    `positive` is `matched`, or True for every sample when no sample of the whole step is matched: a pure function of
    the step, the same on every rank.
    """

    needs = ("text",)
    changes_sample = True  # runs before the other makers

    def __init__(self, *, probability: float = 0.1) -> None:  # TorchMultimodal's itm_probability
        self.probability = probability

    def __call__(self, draft: Draft, draws: Draws) -> dict[str, np.ndarray]:
        matched = self._matched(draft, draft.position)
        if not matched:
            draft.swap_text(draws())
        positive = matched or not self._any_matched(draft)
        return {"matched": np.array(matched), "positive": np.array(positive)}

    def _matched(self, draft: Draft, position: int) -> bool:
        return bool(draft.rng("lot", position).random() >= self.probability)  # `draws` are for the other text

    def _any_matched(self, draft: Draft) -> bool:
        """Whether a sample of the step is matched; asks few samples unless the probability is close to 1."""
        return self.probability < 1 and any(self._matched(draft, position) for position in draft.step_positions)
