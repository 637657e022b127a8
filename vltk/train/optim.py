"""Towers: parameters that the same streams reach are stepped together, or left exactly as they are.

Round-robin streams leave whole towers without a gradient. Decoupled weight decay and momentum would still move them
(plain DeepSpeed does, at every ZeRO stage), so a group that is idle in a step is taken away from AdamW altogether.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vltk.recipe import Optimizer

MOMENTS = ("exp_avg", "exp_avg_sq")

# timm `no_weight_decay`, open_clip `params.py`: no decay for vectors, biases, norms and these tables
_NO_DECAY = re.compile(r"(^|[._])(cls|mask|distillation)(_token)?$|(^|[._])(positions?|pos_embed|logit_scale)([._]|$)")


@dataclass(frozen=True)
class Group:
    """Parameters, by qualified name, that the same `streams` reach from the same step on and that share weight decay or
    its absence."""

    name: str
    decay: bool
    streams: frozenset[str]
    parameters: dict[str, nn.Parameter]
    start: int = 0

    def takes_part(self, stream: str, step: int) -> bool:
        """Whether a step of that stream trains them."""
        return stream in self.streams and step >= self.start


def groups(module: nn.Module, reached: Mapping[str, set[str]], starts: Mapping[str, int] | None = None) -> list[Group]:
    """Groups in the order of the module's parameters; `reached`: by stream, the names of the parameters it trains;
    `starts`: the first step of those that are left alone before it.

    Parameters that no stream reaches are frozen. Raises ValueError where `reached` names what the module lacks.
    """
    parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
    if unknown := set().union(*reached.values()) - {name for name, _ in module.named_parameters()}:
        raise ValueError(f"no parameters of the module: {', '.join(sorted(unknown))}")
    starts = starts or {}
    found: dict[tuple[frozenset[str], bool, int], dict[str, nn.Parameter]] = {}
    for name, parameter in parameters.items():
        streams = frozenset(stream for stream, names in reached.items() if name in names)
        if streams:
            found.setdefault((streams, decays(name, parameter), starts.get(name, 0)), {})[name] = parameter
        else:
            parameter.requires_grad_(False)
    return [Group(_title(*shared), shared[1], shared[0], named, shared[2]) for shared, named in found.items()]


def decays(name: str, parameter: Tensor) -> bool:
    """Whether weight decay applies: matrices and filters yes; vectors, CLS and mask tokens, positions, scales no."""
    return parameter.ndim >= 2 and not _NO_DECAY.search(name)


def learning_rate(options: Optimizer, step: int, steps: int) -> float:
    """The rate of 0-based `step` of `steps`: linear warm-up, step 0 at lr / warmup, then the schedule to `final_lr`.

    The schedule ends with the stage or, where given, behind `lr_steps`, from where on the rate stays as it is.
    """
    if step < options.warmup:
        return options.lr * (step + 1) / options.warmup
    done = min(1.0, (step - options.warmup) / max(1, (options.lr_steps or steps) - options.warmup))
    if options.schedule == "exponential":
        return options.lr * (options.final_lr / options.lr) ** done if options.lr else 0.0
    left = {"constant": 1.0, "linear": 1 - done, "cosine": (1 + math.cos(math.pi * done)) / 2}[options.schedule]
    return options.final_lr + (options.lr - options.final_lr) * left


def weight_decay(options: Optimizer, step: int, steps: int) -> float:
    """The decay of 0-based `step` of `steps`: from `weight_decay` to `final_weight_decay` as half a cosine (DINO's)."""
    if options.final_weight_decay is None:
        return options.weight_decay
    left = (1 + math.cos(math.pi * step / steps)) / 2
    return options.final_weight_decay + (options.weight_decay - options.final_weight_decay) * left


class TowerAdamW(torch.optim.AdamW):
    """Fused AdamW with one parameter group a `Group`; groups flagged `idle` are dropped from `step` and put back.

    DeepSpeed replaces the parameters of a group by flat partitions but keeps the group's dictionary, so the flag holds
    at every ZeRO stage.
    """

    def __init__(self, towers: Sequence[Group], options: Optimizer) -> None:
        described = [
            {
                "params": list(group.parameters.values()),
                "weight_decay": options.weight_decay if group.decay else 0.0,
                "name": group.name,
                "decay": group.decay,
                "takes_part": group.takes_part,
                "idle": False,
            }
            for group in towers
        ]
        super().__init__(described, lr=options.lr, betas=options.betas, eps=options.eps, fused=True)

    def activate(self, stream: str, lr: float, step: int = 0, weight_decay: float | None = None) -> None:
        """The next step, number `step`, is for `stream`, at these rates: all groups that it does not train are idle."""
        for group in self.param_groups:
            group["lr"] = lr
            group["idle"] = not group["takes_part"](stream, step)
            if weight_decay is not None and group["decay"]:
                group["weight_decay"] = weight_decay

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One AdamW step of the groups that are not idle."""
        every = self.param_groups
        self.param_groups = [group for group in every if not group["idle"]]
        try:
            super().step(closure)
        finally:
            self.param_groups = every

    def prepared(self, parameter: Tensor) -> dict[str, Any]:
        """The state of `parameter`, made as AdamW would in its first step where there is none."""
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
            state |= {moment: torch.zeros_like(parameter) for moment in MOMENTS}
        return state


def clip_(parameters: Sequence[nn.Parameter], limit: float | None) -> float:
    """Scales the gradients in place so that their joint norm is at most `limit`; returns the norm before that."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients))))
    if limit is not None and limit < norm < math.inf:
        torch._foreach_mul_(gradients, limit / (norm + 1e-6))
    return norm


def _title(streams: frozenset[str], decay: bool, start: int) -> str:
    late = f", from step {start}" if start else ""
    return f"{'+'.join(sorted(streams))} ({'decay' if decay else 'no decay'}{late})"
