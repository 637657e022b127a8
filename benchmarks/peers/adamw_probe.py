"""A linear probe in the manner of CLIP_benchmark: AdamW over mini-batches of normalised features, weight decay chosen.

Learning rate 0.1 on a cosine without warm-up, the weight decay best on validation data, then all data again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vltk.eval.probe.examples import Examples, Ints


@dataclass(frozen=True)
class Settings:
    """CLIP_benchmark's defaults, and every second decade of its weight decays."""

    lr: float = 0.1
    epochs: int = 10
    batch_size: int = 256
    decays: tuple[float, ...] = (1e-6, 1e-4, 1e-2, 1.0, 100.0)
    seed: int = 0


def accuracy(train: Examples, validation: Examples, test: Examples, settings: Settings) -> tuple[float, float]:
    """Percent right on test, and the weight decay that was best on validation."""
    classes = 1 + max(int(examples.numbers.max()) for examples in (train, validation))
    found = {decay: _right(_trained([train], classes, decay, settings), validation) for decay in settings.decays}
    best = max(found, key=lambda decay: found[decay])
    return _right(_trained([train, validation], classes, best, settings), test), best


def _trained(parts: list[Examples], classes: int, decay: float, settings: Settings) -> nn.Linear:
    x, y = torch.cat([_features(part) for part in parts]), torch.cat([_labels(part.numbers) for part in parts])
    generator = torch.Generator().manual_seed(settings.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        probe = nn.Linear(x.shape[1], classes)
    optimizer = torch.optim.AdamW(probe.parameters(), lr=settings.lr, weight_decay=decay)
    steps = settings.epochs * -(-len(x) // settings.batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    with torch.enable_grad():
        for _ in range(settings.epochs):
            for rows in torch.randperm(len(x), generator=generator).split(settings.batch_size):
                optimizer.zero_grad()
                F.cross_entropy(probe(x[rows]), y[rows]).backward()
                optimizer.step()
                schedule.step()
    return probe


@torch.no_grad()
def _right(probe: nn.Linear, examples: Examples) -> float:
    found = probe(_features(examples)).argmax(1)
    return 100 * float((found == _labels(examples.numbers)).double().mean())


def _features(examples: Examples) -> Tensor:
    return F.normalize(torch.from_numpy(examples.read(0, len(examples))), dim=1)


def _labels(numbers: Ints) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(numbers))
