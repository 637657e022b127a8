"""A FLAVA with its six losses in three streams, drawn batches, and processes to train it in, for other benchmarks."""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import socket
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, multiprocessing, nn

from benchmarks import _cli
from vltk import dist
from vltk.launch import before_torch
from vltk.parts import choose
from vltk.recipe import Optimizer
from vltk.train.accumulate import run_step
from vltk.train.optim import Group, groups, learning_rate
from vltk.train.pretraining import Pretraining

STREAMS = {"pairs": ["itc", "itm", "mmm"], "text": ["mlm"], "image": ["mim"]}
VOCAB, CODES, LENGTH, STRIDE = 1000, 512, 24, 16
OPTIONS = Optimizer(lr=1e-3, warmup=5, clip=1.0)


class Drawn:
    """A codebook whose codes come with the batch."""

    stride = STRIDE

    def codes(self, images: Tensor) -> Tensor:
        raise AssertionError("codes come with the batch")


def width_of(text: str) -> int:
    """A width that heads of 64 divide, or one head of less. Raises ArgumentTypeError."""
    width = _cli.positive(text)
    if width > 64 and width % 64:
        raise argparse.ArgumentTypeError(f"{text}: heads are 64 wide; choose a multiple of 64, or less than it")
    return width


def made(width: int, depth: int, image: int) -> tuple[Pretraining, list[Group]]:
    """The model at random weights, the same in every process, and its groups of parameters; without dropout."""
    torch.manual_seed(0)
    tower = {"width": width, "depth": depth, "heads": width // 64 or 1, "mlp": 4 * width}
    model: Any = choose(
        "models/families", "flava",
        image={"part": "vit", **tower, "image_size": image, "patch": STRIDE},
        text={"part": "bert", **tower, "vocab": VOCAB, "max_length": LENGTH},
        fusion={"part": "joint", **(tower | {"depth": max(1, depth // 2)})}, codes=CODES, embedding=width,
    ).build()  # fmt: skip
    for part in model.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
    codes = Drawn()
    parts = {
        stream: {name: choose("objectives", name).build(model=model, codes=codes) for name in names}
        for stream, names in STREAMS.items()
    }
    pretraining = Pretraining(model, parts, codes.codes).train()
    reached = {stream: pretraining.reached(stream, batch(2, 0, image)) for stream in STREAMS}
    return pretraining, groups(pretraining, reached)


def engine_of(stage: int | None, precision: Any, made: tuple[Pretraining, list[Group]], bucket: int = 0) -> Any:
    """DeepSpeed at a ZeRO stage, with buckets of so many numbers and every parameter in parts; None: plain torch."""
    if stage is None:
        from vltk.train.engines.torch import Torch

        return Torch(*made, OPTIONS, precision)
    from vltk.train.engines.deepspeed import DeepSpeed

    zero = {"stage": stage} | ({"reduce_bucket_size": bucket} if stage else {})
    zero |= {"stage3_param_persistence_threshold": 0} if stage == 3 else {}
    return DeepSpeed(*made, OPTIONS, precision, {"zero_optimization": zero})


def load_engine(stage: int | None) -> None:
    """Imports what `engine_of` needs, so that its memory is not counted."""
    if stage is None:
        import vltk.train.engines.torch
    else:
        import vltk.train.engines.deepspeed  # noqa: F401


def batch(size: int, step: int, image: int) -> dict[str, Tensor]:
    """`size` pairs with every view; one pair in four does not match."""
    source = torch.Generator().manual_seed(step)
    patches = (image // STRIDE) ** 2
    lengths = torch.randint(LENGTH // 2, LENGTH + 1, (size,), generator=source)
    lengths[0] = LENGTH
    real = torch.arange(LENGTH) < lengths[:, None]
    ids = torch.randint(5, VOCAB, (size, LENGTH), generator=source) * real
    ids[:, 0] = 2
    hidden = (torch.rand(size, LENGTH, generator=source) < 0.3) & real
    hidden[:, 0], hidden[:, 1] = False, True
    masked = torch.rand(size, patches, generator=source) < 0.4
    masked[:, 0] = True
    matched = torch.arange(size) % 4 != 3
    return {
        "image": torch.randn(size, 3, image, image, generator=source),
        "image_masked_at": masked,
        "codes": torch.randint(0, CODES, (size, patches), generator=source),
        "text": ids,
        "text_masked": torch.where(hidden, 4, ids),
        "text_masked_at": hidden,
        "text_length": lengths,
        "matched": matched,
        "positive": matched,
    }


def one_step(
    engine: Any,
    pretraining: Pretraining,
    stream: str,
    whole: Mapping[str, Tensor],
    step: int,
    steps: int,
    parts: int = 1,
    between: Callable[[], object] = int,
) -> dict[str, float]:
    """One step of `stream` on this rank's share of a batch, in `parts` micro-batches; the losses of the whole.

    between: called behind backward, before the optimizer's step.
    """
    world, rank = dist.world(), dist.rank()
    cut = {name: tensor.chunk(world * parts) for name, tensor in whole.items()}
    mine = [{name: some[rank * parts + n] for name, some in cut.items()} for n in range(parts)]
    record = run_step(engine, pretraining, stream, mine, step, seed=0)
    between()
    engine.step(learning_rate(OPTIONS, step, steps), stream, step)
    return {name: float(dist.sum_over_ranks(loss.float())) for name, loss in record.losses.items()}


def resident() -> float:
    """Memory of this process in MiB, without what was freed and not yet given back."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def tensors() -> float:
    """MiB of all tensors of this process that Python knows, each storage once."""
    gc.collect()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        alive = [thing for thing in gc.get_objects() if isinstance(thing, Tensor) and thing.device.type != "meta"]
    alive += [tensor.grad for tensor in alive if tensor.is_leaf and tensor.grad is not None]
    storages = {s.data_ptr(): s.nbytes() for s in (tensor.untyped_storage() for tensor in alive)}
    return sum(storages.values()) / 2**20


def predicted(stage: int | None, module: nn.Module) -> float:
    """MiB of a rank for fp32 weights, gradients and two moments as ZeRO cuts them; stages 1 to 3 step a copy of the
    weights, each rank of its part."""
    size = sum(getattr(parameter, "ds_numel", parameter.numel()) for parameter in module.parameters())
    part = 1 / dist.world()
    each = {None: 16.0, 0: 16.0, 1: 4 + 16 * part, 2: 4 + 16 * part, 3: 20 * part}[stage]
    return size * each / 2**20


def in_processes(world: int, work: Callable[..., Any], *args: Any) -> list[Any]:
    """What `work(*args)` returned on each rank of `world` processes of one thread, set up as `vltk train` sets up its
    own and joined by gloo."""
    before_torch()
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        multiprocessing.spawn(_join, (world, port, folder, work, args), nprocs=world)
        return [json.loads((Path(folder) / f"{rank}.json").read_text()) for rank in range(world)]


def _join(rank: int, world: int, port: int, folder: str, work: Callable[..., Any], args: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "MASTER_ADDR": "localhost", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in names.items()})
    dist.start()
    (Path(folder) / f"{rank}.json").write_text(json.dumps(work(*args)))
    dist.stop()
    sys.stdout.flush()
    os._exit(0)  # DeepSpeed keeps gloo's threads alive past the end of their group
