"""Model and objectives as one module, so that every engine sees one (design section 4.4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from vltk.errors import RecipeError
from vltk.models.encoded import Codebook, Encoded
from vltk.models.passes import Plan
from vltk.objectives._contract import Joining, Losses, Objective, Views

Embedded = dict[str, tuple[Tensor, ...]]


class Pretraining(nn.Module):
    """`model` and, stream by stream, its objectives. The frozen codebook stays outside: no part of a checkpoint."""

    def __init__(self, model: nn.Module, objectives: dict[str, dict[str, Any]], codes: Codebook | None = None) -> None:
        super().__init__()
        self.model = model
        self.objectives = nn.ModuleDict({stream: nn.ModuleDict(parts) for stream, parts in objectives.items()})
        self.views = {stream: merged_views(stream, parts) for stream, parts in objectives.items()}
        self.plans = {stream: self._plan(stream, self.of(stream)) for stream in objectives}
        self._embedding_plans = {stream: self._plan(stream, self.joining(stream)) for stream in objectives}
        self._frozen = {"codes": codes}  # a plain dict: not a submodule

    def of(self, stream: str) -> dict[str, Objective]:
        """The objectives of a stream, by name."""
        return dict(cast(Mapping[str, Any], self.objectives[stream]).items())

    def joining(self, stream: str) -> dict[str, Joining]:
        """Those of its objectives that compare all samples of a step with one another."""
        return {name: cast(Joining, part) for name, part in self.of(stream).items() if hasattr(part, "compare")}

    def counts(self, stream: str, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """By loss name: the items of this micro-batch that its mean is taken over."""
        return {loss: n for part in self.of(stream).values() for loss, n in part.counts(batch).items()}

    def forward(
        self, stream: str, batch: Mapping[str, Tensor], step: int, embed_only: bool = False, skip_joining: bool = False
    ) -> tuple[Losses, Embedded]:
        """The losses of one micro-batch and, when accumulating, what the joining objectives embedded.

        embed_only: nothing but the embeddings; skip_joining: all losses but those of joining objectives, with the
        embeddings, whose losses the caller knows.
        """
        plan = self._embedding_plans[stream] if embed_only and not self._draws_noise() else self.plans[stream]
        encoded = Encoded(self.model, batch, plan, self._frozen["codes"])
        found, embedded = Losses({}), cast(Embedded, {})
        for name, part in self.of(stream).items():
            if (embed_only or skip_joining) and hasattr(part, "compare"):
                embedded[name] = cast(Joining, part).embed(encoded)
            elif not embed_only:
                losses = part(encoded, step)
                found.sums |= losses.sums
                found.metrics |= losses.metrics
                found.codes = losses.codes if found.codes is None else found.codes
        return found, embedded

    def after_step(self, step: int) -> None:
        """What objectives do once the optimizer has stepped: codes, teachers and centres that no gradient reaches."""
        for parts in self.objectives.values():
            for part in cast(Mapping[str, Any], parts).values():
                if hasattr(part, "after_step"):
                    part.after_step(step)

    def _plan(self, stream: str, parts: Mapping[str, Objective]) -> Plan:
        return Plan.of(read for part in parts.values() for read in part.reads(set(self.views[stream])))

    def _draws_noise(self) -> bool:
        """Whether a pass draws dropout, so that the same noise needs the same passes."""
        return any(isinstance(part, nn.Dropout) and part.p > 0 for part in self.model.modules())

    def reached(self, stream: str, batch: Mapping[str, Tensor]) -> set[str]:
        """Names of the parameters that the losses of `stream` depend on, read off the autograd graph.

        In evaluation mode: no step is made of this batch, and no objective keeps anything of it.
        """
        self.eval()
        losses, _ = self(stream, batch, 0)
        self.train()
        leaves = _leaves([total.grad_fn for total in losses.sums.values()])
        return {name for name, parameter in self.named_parameters() if id(parameter) in leaves}


def merged_views(stream: str, objectives: Mapping[str, Objective]) -> Views:
    """All views of a stream; one name with two different options is a mistake of the recipe."""
    views: Views = {}
    owner: dict[str, str] = {}
    for name, part in objectives.items():
        for view, options in part.views.items():
            if views.setdefault(view, options) != options:
                raise RecipeError(
                    f"streams.{stream}: objectives {owner[view]} and {name} ask for the view '{view}' with different "
                    f"options: {views[view]} and {options}; give both the same"
                )
            owner.setdefault(view, name)
    return views


def _leaves(roots: list[Any]) -> set[int]:
    """ids of the leaf tensors under `roots` of an autograd graph."""
    found: set[int] = set()
    seen: set[Any] = set()
    todo = [root for root in roots if root is not None]
    while todo:
        node = todo.pop()
        if node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.add(id(node.variable))
        todo += [below for below, _ in node.next_functions if below is not None]
    return found


def on_device(batch: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    return {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}
