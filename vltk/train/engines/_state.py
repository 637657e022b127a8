"""What engines share: gradients summed over ranks, and the state as full tensors that both engines read and write."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import torch
import torch.distributed as torch_dist
from torch import Tensor, nn

from vltk import dist
from vltk.errors import VltkError
from vltk.train.optim import MOMENTS, Group

State = dict[str, dict[str, Tensor]]  # "weights", "exp_avg", "exp_avg_sq", "steps" -> parameter name -> tensor

BUCKET = 2**25  # numbers in one all-reduce or gather: 128 MiB of fp32


def empty_state() -> State:
    return {kind: {} for kind in ("weights", *MOMENTS, "steps")}


def keep(tensors: dict[str, Tensor], name: str, tensor: Tensor) -> None:
    """A copy for the checkpoint, on the main process only: on the CPU, floating point as fp32."""
    if dist.is_main():
        dtype = torch.float32 if tensor.is_floating_point() else tensor.dtype
        tensors[name] = tensor.detach().to("cpu", dtype, copy=True).contiguous()


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
        tensor.data.copy_(tensor_from_main(tensor.data, tensor.shape, tensor))


def check(state: State, module: nn.Module, groups: Sequence[Group]) -> dict[str, float]:
    """The step count of each optimised parameter, 0 where it was never stepped; the same on every rank.

    Raises VltkError, on every rank, where the state on the main process is not one of this module.
    """
    problems: list[str] = []
    steps: dict[str, float] = {}
    if dist.is_main():
        want = {name: whole_shape(tensor) for name, tensor in weights(module)}
        optimised = {name: want[name] for group in groups for name in group.parameters}
        problems = differences("weights", state["weights"], want)
        for moment in MOMENTS:
            stepped = {name: shape for name, shape in optimised.items() if name in state["steps"]}
            problems += differences(moment, state[moment], stepped)
        steps = {name: float(state["steps"].get(name, 0)) for name in optimised}
    problems, steps = from_main((problems, steps))
    if problems:
        raise VltkError("the checkpoint is not one of this model:\n" + "\n".join(f"  {line}" for line in problems))
    return steps


def from_main(value: Any) -> Any:
    """The main process's `value` (plain data) on every rank."""
    if dist.world() == 1:
        return value
    box = [value]
    torch_dist.broadcast_object_list(box)
    return box[0]


def tensor_from_main(value: Tensor | None, shape: torch.Size, like: Tensor) -> Tensor:
    """The main process's `value` on every rank, with the device and dtype of `like`; `value` is read only there."""
    if value is not None and dist.is_main():
        tensor = value.to(like.device, like.dtype).reshape(shape).contiguous()
    else:
        tensor = torch.empty(shape, device=like.device, dtype=like.dtype)
    if dist.world() > 1:
        torch_dist.broadcast(tensor, 0)
    return tensor


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


def differences(kind: str, have: dict[str, Tensor], want: dict[str, torch.Size]) -> list[str]:
    """What is missing, unknown, or of another shape."""
    lines = [f"{kind}: missing {name} {tuple(want[name])}" for name in want if name not in have]
    lines += [f"{kind}: unknown {name} {tuple(tensor.shape)}" for name, tensor in have.items() if name not in want]
    for name in want.keys() & have.keys():
        if have[name].shape != want[name]:
            lines.append(f"{kind}: {name} is {tuple(have[name].shape)}, the model has {tuple(want[name])}")
    return lines
