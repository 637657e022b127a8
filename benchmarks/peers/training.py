"""Trains a peer for a number of steps or minutes, and measures retrieval as it goes. Evaluation is not on its clock."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.peers.peer import Peer
from benchmarks.peers.photos import Photos, normalise, pad
from benchmarks.peers.retrieval import recalls

Record = dict[str, object]


@dataclass(frozen=True)
class Settings:
    """How every peer is trained."""

    lr: float = 5e-4
    weight_decay: float = 0.1
    warmup: float = 0.05  # share of the budget
    crop: tuple[float, float] = (0.8, 1.0)
    clip: float = 1.0
    seed: int = 0
    evaluate_every: int = 250


class Trainer:
    """A peer, its optimizer and its order of photos; `step(progress)` trains one step."""

    def __init__(self, peer: Peer, photos: Photos, settings: Settings) -> None:
        self.peer, self.photos, self.settings = peer, photos, settings
        self.rng = np.random.default_rng(settings.seed)
        self.batches = _batches(len(photos), peer.batch_size, self.rng)
        self.optimizer = torch.optim.AdamW(
            _groups(peer.model, settings.weight_decay), lr=settings.lr, betas=(0.9, 0.98), fused=True
        )

    def step(self, progress: float) -> float:
        """One step at `progress` (0 to 1) of the budget; the loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.lr * schedule(progress, self.settings.warmup)
        batch = self.peer.draw(self.photos, next(self.batches), self.settings.crop, self.rng)
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16):
            loss = self.peer.loss(batch)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.peer.model.parameters(), self.settings.clip)
        self.optimizer.step()
        self.peer.after_step()
        return loss.item()


@dataclass(frozen=True)
class Budget:
    """Steps if they are given, else minutes of training."""

    minutes: float
    steps: int | None = None

    def progress(self, step: int, seconds: float) -> float:
        """The share that is used up; 1 or more: done."""
        return step / self.steps if self.steps else seconds / (60 * self.minutes)


def train(
    trainer: Trainer, dev: Photos, size: int, pad_id: int, budget: Budget, report: Callable[[Record], None]
) -> list[Record]:
    """Trains until the budget is used up; one record an evaluation, the last at the end."""
    records: list[Record] = []
    step, seconds, losses = 0, 0.0, []
    while (progress := budget.progress(step, seconds)) < 1:
        start = time.perf_counter()
        losses.append(trainer.step(progress))
        step, seconds = step + 1, seconds + time.perf_counter() - start
        if not math.isfinite(losses[-1]):
            raise FloatingPointError(f"{trainer.peer.name}: loss {losses[-1]} at step {step}")
        if step % trainer.settings.evaluate_every == 0 or budget.progress(step, seconds) >= 1:
            scores = evaluate(trainer.peer, dev, size, pad_id)
            record: Record = {"model": trainer.peer.name, "step": step, "seconds": round(seconds, 1)}
            records.append(record | {"loss": round(float(np.mean(losses)), 4), "seed": trainer.settings.seed} | scores)
            report(records[-1])
            losses = []
    return records


@torch.inference_mode()
def evaluate(peer: Peer, dev: Photos, size: int, pad_id: int, batch_size: int = 250) -> dict[str, float]:
    """Recall at 1, 5 and 10 both ways, in per cent, over all photos and captions of `dev`."""
    peer.model.eval()
    captions, owners = dev.all_captions()
    with torch.autocast("cpu", torch.bfloat16):
        images = [peer.embed_image(chunk) for chunk in whole_photos(dev, size, batch_size)]
        chunks = [captions[i : i + batch_size] for i in range(0, len(captions), batch_size)]
        texts = [peer.embed_text(*pad(chunk, pad_id)) for chunk in chunks]
    peer.model.train()
    return recalls(torch.cat(images), torch.cat(texts), owners)


def whole_photos(photos: Photos, size: int, batch_size: int) -> Iterator[Tensor]:
    """Uncropped photos (B, 3, size, size), normalised. Load them at `size` to resize once."""
    for i in range(0, len(photos), batch_size):
        chunk = photos.images[i : i + batch_size]
        if chunk.shape[1] != size:
            raise ValueError(f"photos are {chunk.shape[1]} px, evaluation is at {size}")
        yield normalise(chunk)


def schedule(progress: float, warmup: float) -> float:
    """Linear warm-up over the first `warmup` of the budget, then cosine to 0."""
    if progress < warmup:
        return progress / warmup
    return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))


def _batches(count: int, batch_size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Endless batches of distinct photos: each epoch in a new order, its remainder dropped."""
    if count < batch_size:
        raise ValueError(f"{count} photos are fewer than the batch of {batch_size}")
    while True:
        order = rng.permutation(count)
        yield from order[: count // batch_size * batch_size].reshape(-1, batch_size)


def _groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    trained = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
