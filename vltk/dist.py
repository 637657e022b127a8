"""Ranks and the few collectives vltk needs; each is the identity in a single process."""

from __future__ import annotations

import os
import socket
import warnings
from datetime import timedelta

import torch
import torch.distributed as torch_dist
from torch import Tensor

from vltk import meeting

TIMEOUT = timedelta(days=30)  # of a collective: `vltk.pulse` finds who is dead or hangs, and patience is allowed
_store: torch_dist.Store | None = None

# of collectives that DeepSpeed and `gather_with_grad` call; for good, as each filter that is set for a while makes all
# other warnings come again, every step
warnings.filterwarnings("ignore", r".*torch\.distributed\..* deprecated")


def start() -> None:
    """Joins the process group that the launcher described in torchrun's variables, if any (see `launch.adopt`).

    Raises VltkError where the ranks do not find one another.
    """
    global _store
    if torch_dist.is_initialized() or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(device())
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    meeting.choose_interface()
    _store, rank, world = meeting.meet()
    torch_dist.init_process_group(
        backend, store=torch_dist.PrefixStore("group", _store), rank=rank, world_size=world, timeout=TIMEOUT
    )


def stop() -> None:
    """Leaves the process group together: gloo aborts a process that exits while others still talk to it."""
    global _store
    if torch_dist.is_initialized():
        torch_dist.barrier()
        torch_dist.destroy_process_group()
    _store = None


def has_store() -> bool:
    return _store is not None


def store() -> torch_dist.Store:
    """Where the ranks tell one another short texts, besides the collectives."""
    assert _store is not None
    return _store


def host() -> str:
    """This machine, by the name that its launcher gave it."""
    return os.environ.get("VLTK_HOST") or os.environ.get("SLURMD_NODENAME") or socket.gethostname()


def rank() -> int:
    return torch_dist.get_rank() if torch_dist.is_initialized() else 0


def world() -> int:
    return torch_dist.get_world_size() if torch_dist.is_initialized() else 1


def local_rank() -> int:
    return int(os.environ.get("LOCAL_RANK", "0"))


def is_main() -> bool:
    return rank() == 0


def device() -> torch.device:
    """This rank's GPU, among those that it sees: srun may show each task its own alone."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", local_rank() % torch.cuda.device_count())


def barrier() -> None:
    if world() > 1:
        torch_dist.barrier()


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """The sum of every rank's `tensor`, on each rank; without gradient."""
    if world() == 1:
        return tensor
    total = tensor.detach().clone()
    torch_dist.all_reduce(total)
    return total


def from_main(tensor: Tensor) -> Tensor:
    """The main process's `tensor` on each rank, where all have one of the same shape; without gradient."""
    if world() == 1:
        return tensor
    own = tensor.detach().clone(memory_format=torch.contiguous_format)
    torch_dist.broadcast(own, 0)
    return own


def told(text: str) -> list[str]:
    """What each rank says, in rank order, on each rank."""
    own = torch.tensor(list(text.encode()), dtype=torch.uint8, device=device())
    sizes = gather(torch.tensor([len(own)], device=device())).tolist()
    every = gather(torch.nn.functional.pad(own, (0, max(sizes) - len(own)))[None])
    return [bytes(row[:size].tolist()).decode() for row, size in zip(every, sizes, strict=True)]


def gather(tensor: Tensor) -> Tensor:
    """(B, ...) on each rank -> (world * B, ...), in rank order; without gradient."""
    if world() == 1:
        return tensor.detach()
    parts = [torch.empty_like(tensor) for _ in range(world())]
    torch_dist.all_gather(parts, tensor.detach().contiguous())
    return torch.cat(parts)


def gather_with_grad(tensor: Tensor) -> Tensor:
    """(B, ...) on each rank -> (world * B, ...), in rank order; gradients of all ranks flow back to their owner."""
    if world() == 1:
        return tensor
    from torch.distributed.nn.functional import all_gather

    return torch.cat(all_gather(tensor.contiguous()))
