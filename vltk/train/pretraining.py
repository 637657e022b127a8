"""Model and objectives as one module, so that every engine sees one (design section 4.4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from vltk.errors import RecipeError
from vltk.models.encoded import Codebook, Encoded
from vltk.models.passes import Plan
from vltk.objectives._contract import Joining, Losses, Objective, Taught, Views
from vltk.train.momentum import Replica, averaging

Embedded = dict[str, tuple[Tensor, ...]]


class Pretraining(nn.Module):
    """`model` and, stream by stream, its objectives. The frozen codebook stays outside: no part of a checkpoint.

    replicas: by the name that they have in a checkpoint, the copies that follow the trained weights, outside as well;
    average: the decay of averaged weights, if there are to be any. result: the kind of tensors in a checkpoint that are
    evaluated and end the run, `weights` or those of a replica.
    """

    def __init__(
        self,
        model: nn.Module,
        objectives: dict[str, dict[str, Any]],
        codes: Codebook | None = None,
        average: float | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.objectives = nn.ModuleDict({stream: nn.ModuleDict(parts) for stream, parts in objectives.items()})
        self.views = {stream: merged_views(stream, parts) for stream, parts in objectives.items()}
        self.plans = {stream: self._plan(stream, self.of(stream)) for stream in objectives}
        self.starts = first_steps(objectives)
        self._embedding_plans = {stream: self._plan(stream, self.joining(stream)) for stream in objectives}
        self._frozen = {"codes": codes}  # a plain dict: not a submodule
        self.replicas: dict[str, Replica] = {}
        self._taught = {stream: taught(parts) for stream, parts in objectives.items()}
        self._teacher_plans = {
            stream: Plan.of(read for part in parts.values() for read in part.teacher_reads(set(self.views[stream])))
            for stream, parts in self._taught.items()
        }
        lead = leading(self._taught, average)
        if lead is not None:
            own = {
                stream: {n: p for n, p in parts.items() if _has_parameters(p)} for stream, parts in self._taught.items()
            }
            copied = nn.ModuleDict({stream: nn.ModuleDict(parts) for stream, parts in own.items()})  # type: ignore[arg-type]
            self.replicas["teacher"] = Replica({"model": model, "objectives": copied}, lead.momentum)
        if average is not None:
            self.replicas["average"] = Replica({"model": model}, averaging(average))
        self.result = "teacher" if lead and lead.ends_with_teacher else "average" if average else "weights"

    def of(self, stream: str) -> dict[str, Objective]:
        """The objectives of a stream, by name."""
        return dict(cast(Mapping[str, Any], self.objectives[stream]).items())

    def joining(self, stream: str) -> dict[str, Joining]:
        """Those of its objectives that compare all samples of a step with one another."""
        return {name: cast(Joining, part) for name, part in self.of(stream).items() if hasattr(part, "compare")}

    def counts(self, stream: str, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """By loss name: the items of this micro-batch that its mean is taken over."""
        return merged_counts({name: part.counts(batch) for name, part in self.of(stream).items()})

    def forward(
        self, stream: str, batch: Mapping[str, Tensor], step: int, embed_only: bool = False, skip_joining: bool = False
    ) -> tuple[Losses, Embedded]:
        """The losses of one micro-batch and, when accumulating, what the joining objectives embedded.

        embed_only: nothing but the embeddings; skip_joining: all losses but those of joining objectives, with the
        embeddings, whose losses the caller knows.
        """
        plan = self._embedding_plans[stream] if embed_only and not self._draws_noise() else self.plans[stream]
        encoded = Encoded(self.model, batch, plan, self._frozen["codes"])
        lessons = {} if embed_only else self._lessons(stream, batch)
        found, embedded = Losses({}), cast(Embedded, {})
        for name, part in self.of(stream).items():
            if (embed_only or skip_joining) and hasattr(part, "compare"):
                embedded[name] = cast(Joining, part).embed(encoded)
            elif not embed_only:
                losses = part(encoded, step, *lessons.get(name, ()))
                found.sums |= losses.sums
                found.metrics |= losses.metrics
                found.codes = losses.codes if found.codes is None else found.codes
                found.kept |= losses.kept
        return found, embedded

    @torch.no_grad()
    def _lessons(self, stream: str, batch: Mapping[str, Tensor]) -> dict[str, tuple[Any]]:
        """By objective, what its teacher says of a micro-batch."""
        if not self._taught[stream]:
            return {}
        teacher = self.replicas["teacher"].module
        encoded = Encoded(teacher.get_submodule("model"), batch, self._teacher_plans[stream])
        copies = dict(teacher.get_submodule(f"objectives.{stream}").named_children())
        parts = {name: copies.get(name, part) for name, part in self._taught[stream].items()}
        return {name: (cast(Taught, part).teach(encoded),) for name, part in parts.items()}

    def after_step(self, engine: Any, stream: str, step: int, kept: Mapping[str, list[Tensor]]) -> dict[str, Tensor]:
        """What follows the optimizer's step: objectives write their buffers, replicas follow. All ranks take part.

        kept: what objectives kept of this rank's micro-batches; returns figures to log.
        """
        metrics: dict[str, Tensor] = {}
        for part in self.of(stream).values():
            if hasattr(part, "after_step"):
                metrics |= part.after_step(kept, step)
        self.follow(engine, step)
        return metrics

    def follow(self, engine: Any, step: int | None = None) -> None:
        """Lets every replica follow what `step` has trained; without a step, makes them equal to it."""
        if not self.replicas:
            return
        names = frozenset[str]().union(*(replica.names for replica in self.replicas.values()))
        for block in engine.whole(names):
            for replica in self.replicas.values():
                replica.follow(block, step)

    @property
    def evaluated(self) -> nn.Module:
        """The model with the weights of `result`."""
        replica = self.replicas.get(self.result)
        return self.model if replica is None else replica.module.get_submodule("model")

    def _plan(self, stream: str, parts: Mapping[str, Objective]) -> Plan:
        return Plan.of(read for part in parts.values() for read in part.reads(set(self.views[stream])))

    def _draws_noise(self) -> bool:
        """Whether a pass draws dropout, so that the same noise needs the same passes."""
        return any(isinstance(part, nn.Dropout) and part.p > 0 for part in self.model.modules())

    def reached(self, stream: str, batch: Mapping[str, Tensor]) -> set[str]:
        """Names of the parameters that the losses of `stream` depend on, at the latest, read off the autograd graph."""
        losses, _ = self(stream, batch, max(self.starts.values(), default=0))
        leaves = _leaves([total.grad_fn for total in losses.sums.values()])
        return {name for name, parameter in self.named_parameters() if id(parameter) in leaves}


def merged_counts(counts: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Those of all objectives; RecipeError where two of them give a loss of one name, of which one would be lost."""
    found: dict[str, Tensor] = {}
    for name, own in counts.items():
        if taken := found.keys() & own.keys():
            loss = min(taken)
            other = next(before for before in counts if loss in counts[before])
            raise RecipeError(f"objectives {other} and {name} both give the loss '{loss}': put them into two streams")
        found |= own
    return found


def first_steps(objectives: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """By parameter, the first step that trains it, of those that objectives leave alone before it."""
    return {
        f"objectives.{stream}.{name}.{parameter}": step
        for stream, parts in objectives.items()
        for name, part in parts.items()
        for parameter, step in getattr(part, "starts", {}).items()
    }


def taught(parts: Mapping[str, Any]) -> dict[str, Taught]:
    """Those objectives that have a teacher."""
    return {name: part for name, part in parts.items() if hasattr(part, "teach")}


def leading(streams: Mapping[str, Mapping[str, Taught]], average: float | None) -> Taught | None:
    """One of the objectives with a teacher, which they share. RecipeError, as `key: what`, where they differ, or where
    the run would end with the teacher and with an average."""
    every = {f"streams.{stream}.objectives.{name}": p for stream in streams for name, p in streams[stream].items()}
    if not every:
        return None
    first, lead = next(iter(every.items()))
    for name, part in every.items():
        if (part.momentum, part.ends_with_teacher) != (lead.momentum, lead.ends_with_teacher):
            raise RecipeError(f"{name}: shares one teacher with {first}: give both the same momentum and result")
    if average is not None and lead.ends_with_teacher:
        raise RecipeError(f"average: the run ends with the teacher of {first}; take one of the two out")
    return lead


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


def _has_parameters(part: Any) -> bool:
    """Whether a teacher needs a copy of the objective: one without any teaches by the model alone."""
    return next(part.parameters(), None) is not None


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
