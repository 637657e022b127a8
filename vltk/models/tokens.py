"""What passes between encoders, fusion and objectives: `Text` in, `Tokens` out."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vltk.models.layers import Rows
from vltk.models.packing import Packing


@dataclass(frozen=True)
class Text:
    """Token ids (B, T), padded behind `lengths` (B,)."""

    ids: Tensor
    lengths: Tensor

    @classmethod
    def stacked(cls, passes: list[Text]) -> Text:
        """Passes of the same shape, behind one another in one batch."""
        if len(passes) == 1:
            return passes[0]
        return cls(torch.cat([text.ids for text in passes]), torch.cat([text.lengths for text in passes]))

    def take(self, rows: Tensor) -> Text:
        """The texts of these numbers (P,), as often as they are named."""
        return Text(self.ids[rows], self.lengths[rows])

    @property
    def packing(self) -> Packing | None:
        """Where the real tokens lie; None where nothing is padded."""
        return Packing.of(self.lengths, self.ids.shape[1])

    @property
    def real(self) -> Tensor:
        """(B, T) True at real tokens."""
        return torch.arange(self.ids.shape[1], device=self.ids.device) < self.lengths[:, None]


@dataclass(frozen=True)
class Tokens:
    """Hidden states of the last block: all positions, or only those planned to be read.

    hidden (B, R, D) before the final norm; `rows` says which positions they are (None: all of them);
    `pooled_at` (B,) is the position of the token that stands for the whole (CLS first; end of text in CLIP).
    """

    hidden: Tensor
    norm: nn.Module
    rows: Rows | None = None
    pooled_at: Tensor | None = None

    @property
    def cls(self) -> Tensor:
        """(B, D), after the final norm: the token that stands for the whole image, text or pair."""
        if self.pooled_at is None or self.rows is not None:
            return self.norm(self.hidden[:, 0])
        return self.norm(self.hidden[torch.arange(len(self.hidden), device=self.hidden.device), self.pooled_at])

    def at(self, mask: Tensor) -> Tensor:
        """mask (B, N) over all positions -> (K, D) after the final norm, sample by sample in ascending position."""
        if self.rows is not None:
            mask = mask.gather(1, self.rows.index) & self.rows.valid
        return self.norm(self.hidden[mask])

    def take(self, rows: Tensor) -> Tokens:
        """Those of the samples of these numbers (P,), as often as they are named."""
        at = None if self.pooled_at is None else self.pooled_at[rows]
        return Tokens(self._all()[rows], self.norm, None, at)

    @property
    def normed(self) -> Tensor:
        """(B, N, D) after the final norm."""
        return self.norm(self._all())

    @property
    def before_norm(self) -> Tensor:
        """(B, N, D) before the final norm: what FLAVA's multimodal encoder takes."""
        return self._all()

    def _all(self) -> Tensor:
        assert self.rows is None, "only some rows were planned to be read"
        return self.hidden
