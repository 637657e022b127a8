"""A stage of a recipe without memory: its parameters, and passes of its streams counted at any size.

What runs is the model, the objectives and the planned passes of training themselves (`Pretraining`), so that every
family and objective is counted and none is described here. The batches are those of a rehearsal, with more rows.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, cast
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from vltk import dist
from vltk.models import layers
from vltk.plan.trace import OUTSIDE, Trace, Work
from vltk.plan.values import Values
from vltk.recipe import Stage
from vltk.train.engines._scale import LOW
from vltk.train.pretraining import Embedded, Pretraining
from vltk.train.rehearsal import SAMPLES, Rehearsal
from vltk.train.setup import recompute


@dataclass(frozen=True)
class Pass:
    """What one pass of a micro-batch takes.

    kept: bytes alive between forward and backward; peak: the most at once, gradients of parameters left out;
    together: the most with those gradients that there were already. reached: the parameters that got a gradient.
    """

    work: Work
    kept: int
    peak: int
    together: int
    reached: frozenset[str]


@dataclass(frozen=True)
class How:
    """What changes how a pass is computed, beside the recipe. fused: attention that keeps no scores, as on GPUs."""

    fused: bool = True


class Shapes:
    """Model, helpers and objectives of a stage as shapes; `helpers`: the models that `frozen` names, built by the same
    rehearsal. Objectives that leave parameters alone at first are seen once they no longer do."""

    def __init__(self, stage: Stage, rehearsal: Rehearsal, model: nn.Module, helpers: Mapping[str, Any]) -> None:
        self.stage, self.model, self.helpers = stage, model, dict(helpers)
        self._rehearsal, self._fake = rehearsal, rehearsal.shapes
        provided = {"model": model, "steps": stage.steps, **helpers}
        objectives = {
            stream: {name: rehearsal.build(choice, **provided) for name, choice in options.objectives.items()}
            for stream, options in stage.streams.items()
        }
        codes = helpers["codes"].codes if "codes" in helpers else None
        for tensor in (*model.parameters(), *model.buffers()):
            cast(Any, tensor).constant = None  # the value that a small tensor was made of, which no replica can copy
        with (
            _unwarned(),
            self._fake,
            patch.object(nn.Module, "float", lambda part: part),
        ):  # all are, and shapes cannot be turned
            self.pretraining = Pretraining(model, objectives, codes, stage.average)
        if stage.checkpoint_activations:
            recompute(self.pretraining)
        self._names = dict(self._named())
        self._step = max(1, *self.pretraining.starts.values()) if self.pretraining.starts else 1
        self._real = {stream: self._stand_in(stream) for stream in stage.streams}

    def components(self) -> dict[str, int]:
        """Parameters by part of the model and by objective that has any; without helpers and replicas."""
        found = Counter[str]()
        for name, parameter in self.pretraining.named_parameters():
            found[component(name)] += parameter.numel()
        return dict(found)

    def sizes(self) -> dict[str, int]:
        """Elements by parameter."""
        return {name: parameter.numel() for name, parameter in self.pretraining.named_parameters()}

    def largest(self) -> tuple[str, int]:
        """The module with the most parameters of its own: ZeRO-3 gathers them at once."""
        own = {name: sum(p.numel() for p in part.parameters(recurse=False)) for name, part in self._modules()}
        name = max(own, key=own.__getitem__)
        return name, own[name]

    def gathers(self) -> int:
        """Modules with parameters of their own: ZeRO-3 gathers each by itself."""
        return sum(any(True for _ in part.parameters(recurse=False)) for _, part in self._modules())

    def inputs(self, stream: str) -> int:
        """Bytes of a sample of the stream as it arrives on the device."""
        return sum(tensor[0].numel() * tensor.element_size() for tensor in self._real[stream].values())

    def tokens(self, stream: str) -> int | None:
        """Tokens of a text of the stream; None where it has no texts."""
        texts = [tensor.shape[1] for name, tensor in self._real[stream].items() if name in ("text", "text_masked")]
        return max(texts, default=None)

    def joins(self, stream: str) -> bool:
        """Whether a loss compares all samples of a step with one another."""
        return bool(self.pretraining.joining(stream))

    @property
    def has_blocks(self) -> bool:
        """Whether there are transformer blocks, whose activations `checkpoint_activations` computes again."""
        return any(isinstance(part, layers.Transformer) for part in self.model.modules())

    @property
    def moves_parameters(self) -> bool:
        """Whether an objective writes parameters itself."""
        every = [part for stream in self.stage.streams for part in self.pretraining.of(stream).values()]
        return any(getattr(part, "moves_parameters", False) for part in every)

    def micro_batch(self, stream: str, size: int, how: How) -> Pass:
        """Forward and backward of `size` samples, but for what compares samples with one another."""
        with self._traced(stream, size, how) as (trace, batch):
            with self._cast():
                losses, embedded = self.pretraining(stream, batch, self._step, skip_joining=True)
            loss = sum(losses.sums.values()) + sum(t.float().sum() for t in tree_leaves(embedded))
            del losses, embedded
            kept = trace.alive
            loss.backward()
            del loss
        return Pass(trace.work, kept, trace.peak, trace.together, frozenset(trace.reached))

    def embedding(self, stream: str) -> Work:
        """FLOPs of embedding a sample without gradient: what accumulation does first where samples are compared."""
        return Counter({key: flops // SAMPLES for key, flops in self._embedded[stream][1].items()})

    def comparison(self, stream: str, local: int, world: int) -> Pass:
        """The losses that compare `local` samples of a device with those of all `world` devices, and their gradient."""
        embedded, _ = self._embedded[stream]
        with self._traced(stream, local, How(), world) as (trace, batch):
            rows = {key: tensor for key, tensor in batch.items() if tensor.dim() == 1}
            for name, part in self.pretraining.joining(stream).items():
                like = embedded[name]
                leaves = [torch.empty((local, *t.shape[1:]) if t.dim() else ()).requires_grad_() for t in like]
                losses = part.compare(*leaves, batch=rows)
                torch.autograd.grad(sum(losses.sums.values(), start=torch.zeros(())), leaves)
                del losses, leaves
        return Pass(trace.work, 0, trace.peak, trace.peak, frozenset())

    def gathered(self, stream: str) -> int:
        """Bytes that every device gets of each sample of the others."""
        tensors = [t for some in self._embedded[stream][0].values() for t in some if t.dim()]
        return sum(tensor[0].numel() * tensor.element_size() for tensor in tensors)

    @cached_property
    def _embedded(self) -> dict[str, tuple[Embedded, Work]]:
        """By stream: what the comparing objectives embed of SAMPLES samples, and its FLOPs."""
        found = {}
        for stream in filter(self.joins, self.stage.streams):
            with self._traced(stream, SAMPLES, How()) as (trace, batch), torch.no_grad(), self._cast():
                found[stream] = self.pretraining(stream, batch, self._step, embed_only=True)[1], trace.work
        return found

    @contextmanager
    def _traced(self, stream: str, size: int, how: How, world: int = 1) -> Iterator[tuple[Trace, dict[str, Tensor]]]:
        values = Values()
        real = {
            name: tensor[torch.arange(size) % SAMPLES] for name, tensor in self._real[stream].items() if _counts(tensor)
        }
        trace = Trace(self._names, values, self.pretraining.named_parameters())
        with ExitStack() as held:
            held.enter_context(patch.object(dist, "gather_with_grad", partial(_repeated, world=world)))
            held.enter_context(patch.object(dist, "gather", partial(_repeated, world=world)))
            if how.fused:
                held.enter_context(patch.object(layers, "attend", _fused))
            held.enter_context(self._fake)
            batch = {name: t.new_empty((size, *t.shape[1:])) for name, t in self._real[stream].items()}
            for name, value in real.items():
                values.know(batch[name], value)
            held.enter_context(trace)
            yield trace, batch

    def _cast(self) -> Any:
        precision = self.stage.precision
        return torch.autocast("cpu", LOW.get(precision), enabled=precision in LOW)

    def _stand_in(self, stream: str) -> dict[str, Tensor]:
        views = self.pretraining.views[stream]
        return self._rehearsal.stream(stream, self.stage, views).micro_batches(0)[0].tensors

    def _modules(self) -> Iterator[tuple[str, nn.Module]]:
        yield from ((name, part) for name, part in self.pretraining.named_modules() if name)

    def _named(self) -> Iterator[tuple[nn.Module, str]]:
        """Modules by the name that FLOPs are booked on."""
        yield from ((part, component(name)) for name, part in self._modules() if "." in name)
        for helper, model in self.helpers.items():
            yield from ((part, f"frozen {helper}") for part in model.modules())
        for kind, replica in self.pretraining.replicas.items():
            yield from ((part, kind) for part in replica.module.modules())


def component(name: str) -> str:
    """Of a parameter or module of `Pretraining`: `image`, `heads.mim`, `objective dino`, ..."""
    root, _, rest = name.partition(".")
    if root == "objectives":
        return f"objective {rest.split('.')[1]}" if "." in rest else OUTSIDE
    head, *below = rest.split(".")
    return f"{head}.{below[0]}" if head == "heads" and below else head


@contextmanager
def _unwarned() -> Iterator[None]:
    """Copying shapes, as replicas do, warns of what torch itself does there."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Accessing the data pointer of FakeTensor")
        yield


def _counts(tensor: Tensor) -> bool:
    """Whether its values can decide how large others are."""
    return tensor.dtype in (torch.bool, torch.long)


def _repeated(tensor: Tensor, world: int) -> Tensor:
    """As much as a gather gives."""
    return tensor.repeat(world, *[1] * (tensor.dim() - 1))


def _fused(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """`layers.attend` as on a GPU."""
    return F.scaled_dot_product_attention(query, key, value, attn_mask=None if mask is None else mask.to(query.dtype))
