"""What engines share: gradients summed over ranks, and the state that a checkpoint of either engine holds by name."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Protocol

import torch
import torch.distributed as torch_dist
from torch import Tensor, nn

from vltk import dist
from vltk.errors import VltkError
from vltk.train.optim import MOMENTS, Group

BUCKET = 2**25  # numbers in one all-reduce or gather: 128 MiB of fp32


class Source(Protocol):
    """What engines and replicas load from: `checkpoint.Saved`, or what a test holds in memory."""

    def shapes(self, kind: str) -> dict[str, torch.Size]: ...

    def read(self, kind: str, name: str, start: int = 0, stop: int | None = None) -> Tensor: ...


def read_into(tensor: Tensor, source: Source, kind: str, name: str) -> None:
    """Gives a whole tensor the numbers that were saved."""
    tensor.data.copy_(source.read(kind, name).view(tensor.shape))


def whole_shape(parameter: Tensor) -> torch.Size:
    """The shape of a parameter, also while ZeRO-3 has it in parts."""
    return torch.Size(getattr(parameter, "ds_shape", parameter.shape))


def weights(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """All parameters, each once, then the persistent buffers."""
    yield from module.named_parameters()
    saved = module.state_dict(keep_vars=True)
    yield from ((name, buffer) for name, buffer in module.named_buffers() if name in saved)


def blocks(module: nn.Module, names: Collection[str]) -> Iterator[dict[str, Tensor]]:
    """The parameters and persistent buffers of these names, in the module's order, some at a time."""
    block: dict[str, Tensor] = {}
    size = 0
    for name, tensor in weights(module):
        if name not in names:
            continue
        block[name] = tensor
        size += whole_shape(tensor).numel()
        if size >= BUCKET:
            yield block
            block, size = {}, 0
    if block:
        yield block


def agree(module: nn.Module) -> None:
    """Gives every rank the main process's weights."""
    if dist.world() == 1:
        return
    for _, tensor in weights(module):
        tensor.data.copy_(dist.from_main(tensor.data))


def check(source: Source, module: nn.Module, groups: Sequence[Group]) -> dict[str, float]:
    """The step count of each optimised parameter, 0 where it was never stepped.

    Raises VltkError where what was saved is not of this module.
    """
    want = {name: whole_shape(tensor) for name, tensor in weights(module)}
    optimised = {name: want[name] for group in groups for name in group.parameters}
    counted = source.shapes("steps")
    stepped = {name: shape for name, shape in optimised.items() if name in counted}
    refuse("model", differences("weights", source.shapes("weights"), want))
    refuse("model", [line for moment in MOMENTS for line in differences(moment, source.shapes(moment), stepped)])
    return {name: float(source.read("steps", name)) if name in stepped else 0.0 for name in optimised}


def refuse(what: str, problems: Sequence[str]) -> None:
    """Raises VltkError where there are any."""
    if problems:
        raise VltkError(f"the checkpoint is not one of this {what}:\n" + "\n".join(f"  {line}" for line in problems))


def sum_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Sums gradients over ranks in place, in flat buckets; an absent gradient is zero, on one rank as on many."""
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    if dist.world() == 1:
        return
    pending = []
    for bucket in _buckets([p.grad for p in parameters if p.grad is not None]):
        flat = torch.cat([gradient.reshape(-1) for gradient in bucket])
        pending.append((bucket, flat, torch_dist.all_reduce(flat, async_op=True)))
    for bucket, flat, work in pending:
        work.wait()
        parts = flat.split([gradient.numel() for gradient in bucket])
        torch._foreach_copy_(bucket, [part.view(g.shape) for part, g in zip(parts, bucket, strict=True)])


def _buckets(gradients: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    bucket: list[Tensor] = []
    size = 0
    for gradient in gradients:
        bucket.append(gradient)
        size += gradient.numel()
        if size >= BUCKET:
            yield bucket
            bucket, size = [], 0
    if bucket:
        yield bucket


def differences(kind: str, have: Mapping[str, torch.Size], want: Mapping[str, torch.Size]) -> list[str]:
    """What is missing, unknown, or of another shape."""
    lines = [f"{kind}: missing {name} {tuple(want[name])}" for name in want if name not in have]
    lines += [f"{kind}: unknown {name} {tuple(shape)}" for name, shape in have.items() if name not in want]
    for name in want.keys() & have.keys():
        if have[name] != want[name]:
            lines.append(f"{kind}: {name} is {tuple(have[name])}, the model has {tuple(want[name])}")
    return lines
