"""What every objective answers, and the pieces that several share.

An objective says which `views` the loader must make, which rows of which passes it reads, how many items its losses
count, and their sums. Sums are divided by the counts of the whole step (all ranks, all micro-batches), so that any
split of a global batch gives one loss.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vltk.models.encoded import Encoded
from vltk.models.packing import MULTIPLE
from vltk.models.passes import Read
from vltk.objectives._entropy import cross_entropy

NEAR_CONTRAST, NEAR_PRIOR = 1e-3, 0.01  # of the loss at chance: a loss so near to it is at it

Batch = Mapping[str, Tensor]
Views = dict[str, dict[str, Any]]


@dataclass
class Losses:
    """By name: sums over the counted items, still weighted; and figures to log, averaged over micro-batches.

    codes: (K,) how often each code of a tokenizer in training was chosen; they add up until a row is logged.
    kept: what `after_step` wants of each micro-batch, without gradient.
    """

    sums: dict[str, Tensor]
    metrics: dict[str, Tensor] = field(default_factory=dict)
    codes: Tensor | None = None
    kept: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Momentum:
    """The share of its own weights that a teacher keeps in a step: `start` to `final` as half a cosine over `steps`."""

    start: float
    final: float
    steps: int

    def __call__(self, step: int) -> float:
        return self.final + (self.start - self.final) * (1 + math.cos(math.pi * step / self.steps)) / 2


class Objective(Protocol):
    """The contract. `views` maps a view's name to its maker and options (plain data)."""

    views: Views

    def reads(self, views: set[str]) -> set[Read]:
        """The rows read of each pass, given the names of all views of the stream."""

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        """By loss name: how many items of this micro-batch its mean is taken over."""

    def __call__(self, encoded: Encoded, step: int) -> Losses:
        """The losses of one micro-batch."""


class Joining(Objective, Protocol):
    """An objective whose loss joins all samples of a step: it embeds a micro-batch, then compares what was gathered."""

    def embed(self, encoded: Encoded) -> tuple[Tensor, ...]:
        """Tensors (B, ...) of the samples, then () tensors of parameters; all that the comparison reads."""

    def compare(self, *embedded: Tensor, batch: Batch) -> Losses:
        """The losses of the samples of this rank against those of all ranks."""


class Taught(Objective, Protocol):
    """An objective with a teacher: a replica of the model, and of the objective itself with its heads, that follows.

    All taught objectives of a stage share one, so their `momentum` and `ends_with_teacher` (whether its weights are the
    ones that are evaluated and end the run) are equal. The call takes what `teach` gave as a third argument.
    """

    momentum: Momentum
    ends_with_teacher: bool

    def teacher_reads(self, views: set[str]) -> set[Read]:
        """The rows read of each pass of the teacher."""

    def teach(self, encoded: Encoded) -> Any:
        """Asked of the replica, without gradient: what the student is to learn of this micro-batch."""


class Extras(Objective, Protocol):
    """What an objective may have besides, each for itself.

    starts: by name, parameters of its own that are left alone, decay and moments included, before a step (0-based);
    distinct: a step of it should hold no sample twice, so its data must not be smaller than the batch;
    moves_parameters: `after_step` writes parameters, of which DeepSpeed keeps copies of its own.
    """

    starts: dict[str, int]
    distinct: bool
    moves_parameters: bool

    def after_step(self, kept: Mapping[str, Sequence[Tensor]], step: int) -> dict[str, Tensor]:
        """Writes what no gradient reaches, the same on every rank, from what was kept of this rank's micro-batches;
        figures to log. What must outlast the step are persistent buffers of its own or of the model."""

    def complaint(self, metrics: Mapping[str, float]) -> str | None:
        """What is wrong, where figures of the log are those of a training that has failed."""

    def at_chance(self, losses: Mapping[str, float], metrics: Mapping[str, float]) -> str | None:
        """What it means, where the losses of the log are those of one that has learned nothing; every training begins
        there, so it is said only of one that has gone on for a while."""


def both_views() -> Views:
    """Image and text of a pair as they are."""
    return {"image": {"maker": "image"}, "text": {"maker": "text"}}


def image_views(grid: tuple[int, int], stride: int, mask_ratio: float, min_block: int | None) -> Views:
    """Masked patches and the image that the codebook sees; BEiT's 75 of 196 and blocks of 16, scaled to the grid."""
    patches = math.prod(grid)
    return {
        "image": {"maker": "image"},
        "image_masked_at": {
            "maker": "block_mask",
            "grid": list(grid),
            "max_masked": round(mask_ratio * patches),
            "min_block": max(1, round(16 * patches / 196)) if min_block is None else min_block,
        },
        "image_for_codes": {"maker": "image_for_codes", "size": grid[0] * stride},
    }


def text_views(ratio: float, whole_word: bool) -> Views:
    """The text, and the same text with words hidden as BERT does."""
    return {
        "text": {"maker": "text"},
        "text_masked": {"maker": "masked_text", "ratio": ratio, "whole_word": whole_word},
    }


def task_views(model: Any) -> Views:
    """What a fine-tuned model reads of a sample: its image, and all its texts as one sequence."""
    views: Views = {"image": {"maker": "image"}, "text": {"maker": "sentences"}}
    return {name: options for name, options in views.items() if getattr(model, name) is not None}


def task_reads(passes: Sequence[str]) -> set[Read]:
    """The CLS of each pass that the head of a fine-tuned model reads."""
    return {(name, "cls") for name in passes}


def positive(batch: Batch, like: Tensor) -> Tensor:
    """(B,) True at pairs whose image and text belong together; all of them where nothing was mismatched."""
    if "positive" in batch:
        return batch["positive"]
    return like.new_ones(len(like), dtype=torch.bool)


def same_embeddings(loss: float, chance: float) -> str | None:
    """What it means that a contrastive loss is at `chance`, the logarithm of how many are compared; None elsewhere."""
    if chance == 0 or abs(loss - chance) > NEAR_CONTRAST * chance:
        return None
    return (
        f"has learned nothing: its loss is {loss:.4f}, ln of the {math.exp(chance):.0f} pairs that are compared, as "
        "all embeddings are the same; see that texts are read with the right vocabulary, and lower optimizer.lr"
    )


def at_prior(loss: float, matched: float) -> str | None:
    """What it means that a matching loss is that of the share of matches alone; None elsewhere."""
    prior = -sum(share * math.log(share) for share in (matched, 1 - matched) if share)
    if prior == 0 or abs(loss - prior) > NEAR_PRIOR * prior:
        return None
    return (
        f"has learned nothing: its loss is {loss:.4f}, that of a head that knows no more than the share of matches, "
        f"{matched:.0%} ({prior:.4f}); see that the fused encoder gets a gradient, and that texts are read with the "
        "right vocabulary"
    )


def prediction(head: nn.Module, states: Tensor, target: Tensor, weight: float) -> tuple[Tensor, Tensor]:
    """states (K, D) that a head turns into logits (K, V), target (K,) -> the weighted sum of cross-entropies and the
    accuracy (NaN when K is 0). Rows of zeros up to a multiple go through the head too: see models/packing.py."""
    logits = head(F.pad(states, (0, 0, 0, -len(states) % MULTIPLE)))
    loss, hits = cross_entropy(logits, target)
    return weight * loss, hits / len(target)
