"""A toy of towers and streams for engine tests: image and text towers, a fused one, a shared head, odd sizes.

It is shaped as the real thing is: the root calls verbs, not forwards, of its model; reads bare parameters; ties a
weight; and returns its losses inside a dataclass. Sums are over samples, so that the caller divides by the whole batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vltk import dist
from vltk.checkpoint import Piece, snapshot
from vltk.recipe import Optimizer
from vltk.train.optim import Group, groups, learning_rate

State = dict[str, dict[str, Tensor]]

STREAMS = ("image", "text", "pairs")  # round robin
BATCH = 8  # of a step, over all ranks
STEPS = 20
OPTIONS = Optimizer(lr=0.02, warmup=3, weight_decay=0.3, clip=0.5)


@dataclass
class Losses:
    sums: dict[str, Tensor]


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Sequential(nn.Linear(5, 7), nn.GELU(), nn.Linear(7, 6))
        self.words = nn.Embedding(11, 6)
        self.text = nn.Linear(6, 6)
        self.fused = nn.Linear(6, 3, bias=False)
        self.head = nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 6))
        self.unused = nn.Linear(3, 3)
        self.cls = nn.Parameter(torch.zeros(6))
        self.logit_scale = nn.Parameter(torch.tensor(0.3))
        self.register_buffer("seen", torch.tensor(7))
        self.register_buffer("grid", torch.arange(4), persistent=False)

    def encode_image(self, images: Tensor) -> Tensor:
        return self.head(self.image(images) + self.cls)

    def encode_text(self, ids: Tensor) -> Tensor:
        return self.head(self.text(self.words(ids)).mean(1))


class Toy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.model = Model()

    def forward(self, stream: str, batch: dict[str, Tensor]) -> tuple[Losses, dict[str, Any]]:
        model = self.model
        if stream == "image":
            return Losses({"mim": (model.encode_image(batch["images"]) - 1).square().sum()}), {}
        if stream == "text":
            logits = F.linear(model.encode_text(batch["ids"]), model.words.weight)  # a tied weight, used as it is
            return Losses({"mlm": F.cross_entropy(logits, batch["ids"][:, 0], reduction="sum")}), {}
        image, text = model.encode_image(batch["images"]), model.encode_text(batch["ids"])
        apart = (model.logit_scale.exp() * image - text).square().sum()
        return Losses({"itc": apart, "itm": model.fused(image * text).square().sum()}), {"image": (image,)}


def made() -> tuple[Toy, list[Group]]:
    """The toy at its first weights, the same in every process, and its groups."""
    torch.manual_seed(0)
    toy = Toy()
    reached = {
        "image": _names(toy, "model.image", "model.head", "model.cls"),
        "text": _names(toy, "model.words", "model.text", "model.head"),
        "pairs": {name for name, _ in toy.named_parameters() if "unused" not in name},
    }
    return toy, groups(toy, reached)


def batch_of(step: int) -> dict[str, Tensor]:
    """The whole batch of a step; its scale differs a lot from step to step, so that clipping matters."""
    source = torch.Generator().manual_seed(step)
    images = torch.randn(BATCH, 5, generator=source) * (1 + step % 4)
    return {"images": images, "ids": torch.randint(0, 11, (BATCH, 4), generator=source)}


def run(engine: Any, first: int, last: int, micro_batches: int = 1) -> Iterator[tuple[float, float]]:
    """Trains the steps first .. last - 1; yields the loss of the whole batch and the gradient norm of each."""
    for step in range(first, last):
        yield one_step(engine, step, batch_of(step), micro_batches)


def one_step(engine: Any, step: int, batch: dict[str, Tensor], micro_batches: int = 1) -> tuple[float, float]:
    stream = STREAMS[step % len(STREAMS)]
    size = BATCH // dist.world() // micro_batches
    whole = torch.zeros(())
    for number in range(micro_batches):
        start = (dist.rank() * micro_batches + number) * size
        losses, _ = engine(stream, {name: tensor[start : start + size] for name, tensor in batch.items()})
        loss = sum(losses.sums.values()) / BATCH
        engine.backward(loss, last=number == micro_batches - 1)
        whole += loss.detach().float()
    norm = engine.step(learning_rate(OPTIONS, step, STEPS), stream)
    return float(dist.sum_over_ranks(whole)), norm


class Held:
    """A state in memory, to load from: kind -> name -> whole tensor."""

    def __init__(self, state: State) -> None:
        self.state = state

    def shapes(self, kind: str) -> dict[str, torch.Size]:
        return {name: tensor.shape for name, tensor in self.state.get(kind, {}).items()}

    def read(self, kind: str, name: str, start: int = 0, stop: int | None = None) -> Tensor:
        return self.state[kind][name].flatten()[start:stop]


def state_of(source: Any) -> State:
    """The whole state of an engine, of the pieces of all ranks, on each of them."""
    return assembled([snapshot(source.pieces())])


def assembled(mine: list[list[Piece]]) -> State:
    """Whole tensors by kind and name of the pieces of all ranks; each number must have been given once."""
    every: list[Any] = mine
    if dist.world() > 1:
        every = [None] * dist.world()
        torch.distributed.all_gather_object(every, mine[0])
    state: State = {kind: {} for kind in ("weights", "exp_avg", "exp_avg_sq", "steps")}
    given: dict[tuple[str, str], int] = {}
    for piece in (piece for pieces in every for piece in pieces):
        whole = state.setdefault(piece.kind, {}).setdefault(
            piece.name, torch.zeros(piece.shape, dtype=piece.numbers.dtype)
        )
        whole.view(-1)[piece.start : piece.start + piece.numbers.numel()] = piece.numbers
        given[piece.kind, piece.name] = given.get((piece.kind, piece.name), 0) + piece.numbers.numel()
    for (kind, name), count in given.items():
        assert count == state[kind][name].numel(), (kind, name)
    return state


def changes(before: State, after: State) -> set[str]:
    """Names of the parameters whose weight, moment or step count is not bit for bit the same."""
    names = {name for kind in after.values() for name in kind}
    return {n for n in names if any(not _same(before[kind].get(n), after[kind].get(n)) for kind in after)}


def trained_by(found: list[Group], step: int) -> set[str]:
    """Names of the parameters that a step's stream trains."""
    stream = STREAMS[step % len(STREAMS)]
    return {name for group in found if stream in group.streams for name in group.parameters}


def _same(left: Tensor | None, right: Tensor | None) -> bool:
    if left is None or right is None:
        return left is right
    return torch.equal(left, right)


def _names(module: nn.Module, *prefixes: str) -> set[str]:
    return {name for name, _ in module.named_parameters() if name.startswith(prefixes)}


def zero_of(stage: int, kept: int = 0) -> dict[str, Any]:
    """DeepSpeed's options of a ZeRO stage; at 3 parameters of more than `kept` numbers are in parts."""
    return {"stage": stage} | ({"stage3_param_persistence_threshold": kept} if stage == 3 else {})
