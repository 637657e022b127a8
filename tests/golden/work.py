"""What a training step does, stream by stream, counted at toy size: FLOPs of matrix products, calls of operators, and
bytes that forward keeps for backward."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.kept import kept
from tests import tiny
from vltk.models import packing
from vltk.objectives import _contract
from vltk.parts import choose
from vltk.recipe import Optimizer
from vltk.train.accumulate import run_step
from vltk.train.engines.torch import Torch
from vltk.train.optim import groups
from vltk.train.pretraining import Pretraining

STREAMS = {"pairs": ("itc", "itm", "mmm"), "contrast": ("itc",), "text": ("mlm",), "image": ("mim",)}
OPTIONS = Optimizer(lr=1e-3, clip=1.0)


class Calls(TorchDispatchMode):
    """Counts operators, without the marks for a profiler: torch puts more of them once any AdamW was made."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        self.count += func.namespace != "profiler"
        return func(*args, **(kwargs or {}))


@patch.object(packing, "MULTIPLE", 1)
@patch.object(_contract, "MULTIPLE", 1)
def work() -> dict[str, dict[str, int]]:
    """By stream, of a step in bf16 that is not the first one; a quarter of the text is padding, and none is packed.
    Neither passes nor heads are filled up to a multiple, which would hide rows that are too many."""
    model, codes = tiny.flava(), tiny.Cached()
    parts = {
        stream: {name: choose("objectives", name).build(model=model, codes=codes) for name in names}
        for stream, names in STREAMS.items()
    }
    pretraining = Pretraining(model, parts, codes.codes).train()
    batch = tiny.batch(matched=(1, 1, 0, 1, 1, 0))
    reached = {stream: pretraining.reached(stream, batch) for stream in STREAMS}
    engine = Torch(pretraining, groups(pretraining, reached), OPTIONS, "bf16")
    for step, stream in enumerate(STREAMS):
        _step(engine, pretraining, stream, batch, step)
    return {stream: _counted(engine, pretraining, stream, batch, step) for step, stream in enumerate(STREAMS)}


def _counted(
    engine: Torch, pretraining: Pretraining, stream: str, batch: dict[str, Tensor], step: int
) -> dict[str, int]:
    held = kept(lambda: engine(stream, batch, step)[0], pretraining)
    with FlopCounterMode(display=False) as flops, Calls() as calls:
        _step(engine, pretraining, stream, batch, len(STREAMS) + step)
    return {"flops": flops.get_total_flops(), "operators": calls.count, "kept": held}


def _step(engine: Torch, pretraining: Pretraining, stream: str, batch: dict[str, Tensor], step: int) -> None:
    torch.manual_seed(0)
    run_step(engine, pretraining, stream, [batch], step, seed=0)
    engine.step(OPTIONS.lr, stream, step)
