"""One optimizer step out of micro-batches: the same losses and gradients for every split of the global batch.

Sums are divided by counts over all ranks and micro-batches, known before the first backward. A contrastive loss keeps
its negatives: all micro-batches are embedded first without gradient, the loss is differentiated once with respect to
the embeddings, and each micro-batch then carries its share of that gradient back (GradCache, arXiv 2101.06983;
open_clip's --accum-freq recomputes the loss instead, which counts the gradient of the logit scale once too often).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from vltk import dist
from vltk.objectives._contract import Losses
from vltk.train.pretraining import Embedded, Pretraining

Batch = Mapping[str, Tensor]


@dataclass
class Record:
    """Mean losses of this rank's share of the step (summed over ranks they are the step's), figures to log, and what
    objectives keep of each micro-batch for the end of the step."""

    losses: dict[str, Tensor] = field(default_factory=dict)
    metrics: dict[str, list[Tensor]] = field(default_factory=dict)
    codes: Tensor | None = None  # (K,) how often each was chosen, of this rank's share
    kept: dict[str, list[Tensor]] = field(default_factory=dict)

    def add(self, losses: Losses, totals: dict[str, Tensor]) -> Tensor:
        """Books the losses of a micro-batch; returns their sum, ready for backward. Where that is no number, all of its
        gradient is none either, so that no engine takes the step on any rank."""
        means = {name: total / totals[name] for name, total in losses.sums.items()}
        for name, mean in means.items():
            self.losses[name] = self.losses.get(name, torch.zeros_like(mean)) + mean.detach()
        self.note(losses.metrics)
        if losses.codes is not None:
            self.codes = losses.codes if self.codes is None else self.codes + losses.codes
        for name, value in losses.kept.items():
            self.kept.setdefault(name, []).append(value)
        loss = sum(means.values(), start=torch.zeros((), device=dist.device()))
        return loss * torch.where(loss.detach().isfinite(), 1.0, math.nan)

    def note(self, metrics: Mapping[str, Tensor]) -> None:
        """Books figures to log."""
        for name, value in metrics.items():
            self.metrics.setdefault(name, []).append(value)


def run_step(
    engine: Any, pretraining: Pretraining, stream: str, batches: Sequence[Batch], step: int, seed: int
) -> Record:
    """Forward and backward of all micro-batches of a step. Noise (dropout, Gumbel) is drawn anew a micro-batch."""
    totals = whole_counts(pretraining, stream, batches)
    record, cache = Record(), None
    if len(batches) > 1 and pretraining.joining(stream):
        cache = _join(engine, pretraining, stream, batches, step, seed, record, totals)
    for number, batch in enumerate(batches):
        set_noise(seed, step, number)
        losses, embedded = engine(stream, batch, step, skip_joining=cache is not None)
        loss = record.add(losses, totals)
        if cache is not None:
            loss = loss + _carried(embedded, cache[number])
        engine.backward(loss, last=number == len(batches) - 1)
    return record


def whole_counts(pretraining: Pretraining, stream: str, batches: Sequence[Batch]) -> dict[str, Tensor]:
    """By loss name: the count over all micro-batches and ranks, at least 1."""
    counts = [pretraining.counts(stream, batch) for batch in batches]
    names = list(counts[0])
    whole = torch.stack([torch.stack([c[name].float() for c in counts]).sum() for name in names])
    whole = dist.sum_over_ranks(whole).clamp(min=1)
    return dict(zip(names, whole, strict=True))


def set_noise(seed: int, step: int, micro_batch: int) -> None:
    """Dropout and Gumbel noise are a pure function of (seed, step, micro-batch, rank).

    As `torch.manual_seed`, which besides keeps a stack trace for each kind of device that is absent.
    """
    number = hash((seed, step, micro_batch, dist.rank())) & 0x7FFFFFFFFFFFFFFF
    torch.default_generator.manual_seed(number)
    if dist.device().type == "cuda":
        torch.cuda.manual_seed_all(number)


def _join(
    engine: Any,
    pretraining: Pretraining,
    stream: str,
    batches: Sequence[Batch],
    step: int,
    seed: int,
    record: Record,
    totals: dict[str, Tensor],
) -> list[Embedded]:
    """For each micro-batch, the gradient of the joining losses with respect to what it embeds."""
    embedded: list[Embedded] = []
    for number, batch in enumerate(batches):
        set_noise(seed, step, number)
        with torch.no_grad():
            embedded.append(engine(stream, batch, step, embed_only=True)[1])
    whole = {key: torch.cat([b[key] for b in batches]) for key in batches[0] if batches[0][key].dim() == 1}
    sizes = [len(next(iter(batch.values()))) for batch in batches]
    shares: list[Embedded] = [{} for _ in batches]
    for name, part in pretraining.joining(stream).items():
        leaves = _leaves([e[name] for e in embedded])
        loss = record.add(part.compare(*leaves, batch=whole), totals)
        gradients = torch.autograd.grad(loss, leaves)
        for number, share in enumerate(_shares(gradients, sizes)):
            shares[number][name] = share
    return shares


def _leaves(embedded: list[tuple[Tensor, ...]]) -> list[Tensor]:
    """Per-sample tensors joined over micro-batches, parameters taken once; each a leaf that wants its gradient."""
    joined = [torch.cat(parts) if parts[0].dim() else parts[0] for parts in zip(*embedded, strict=True)]
    return [tensor.detach().requires_grad_() for tensor in joined]


def _shares(gradients: tuple[Tensor, ...], sizes: list[int]) -> list[tuple[Tensor, ...]]:
    """Per-sample gradients cut into micro-batches; a parameter's gradient goes to the first, zeros to the others."""
    cut = [g.split(sizes) if g.dim() else [g] + [torch.zeros_like(g)] * (len(sizes) - 1) for g in gradients]
    return list(zip(*cut, strict=True))


def _carried(embedded: Embedded, shares: Embedded) -> Tensor:
    """A scalar whose gradient is exactly the cached one."""
    return sum(
        ((tensor * share).sum() for name in shares for tensor, share in zip(embedded[name], shares[name], strict=True)),
        start=torch.zeros((), device=dist.device()),
    )
