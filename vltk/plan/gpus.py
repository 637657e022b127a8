"""GPUs as data: gpus.yaml, and `cpu`, which is this machine and has to be measured."""

from __future__ import annotations

import os
from pathlib import Path
from typing import cast

import yaml
from pydantic import PositiveFloat

from vltk.errors import VltkError
from vltk.strict import Strict, suggest

CPU = "cpu"
NODE = 8  # GPUs
GIB = 2**30
_FILE = Path(__file__).with_name("gpus.yaml")


class Gpu(Strict):
    """One entry of gpus.yaml: GiB, dense TFLOP/s, GB/s. No rates: only a calibration knows how fast it is."""

    name: str
    memory: PositiveFloat
    bf16: PositiveFloat | None = None
    fp16: PositiveFloat | None = None
    tf32: PositiveFloat | None = None
    fp32: PositiveFloat | None = None
    memory_bandwidth: PositiveFloat | None = None
    link: PositiveFloat = 10.0
    network: PositiveFloat = 1.0
    source: str = "this machine"

    def rate(self, arithmetic: str) -> float:
        """Dense FLOP/s of `bfloat16`, `float16`, `float32` or `convolution` (tf32 where there are such units, as torch
        lets convolutions in fp32 use them). Raises VltkError where the GPU cannot."""
        found = {
            "bfloat16": self.bf16,
            "float16": self.fp16,
            "float32": self.fp32,
            "convolution": self.tf32 or self.fp32,
        }[arithmetic]
        if found is None:
            other = "; set precision=fp32, or take another --gpu" if self.fp32 else "; measure it with --calibrate"
            raise VltkError(f"{self.name} has no rate for {arithmetic}{other}")
        return found * 1e12

    @property
    def bytes(self) -> int:
        return int(self.memory * GIB)


def find(name: str) -> Gpu:
    """The GPU of that name. Raises VltkError with the nearest one."""
    if name == CPU:
        return Gpu(name=CPU, memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB)
    known = every()
    if begin := [other for other in known if other.startswith(f"{name}-")]:
        raise VltkError(f"no GPU '{name}'; did you mean {' or '.join(map(repr, begin))}?")
    if name not in known:
        raise VltkError(f"no GPU '{name}'{suggest(name, [*known, CPU])}")
    return known[name]


def every() -> dict[str, Gpu]:
    """All of gpus.yaml, by name."""
    facts = cast(dict[str, dict[str, float | str]], yaml.safe_load(_FILE.read_text(encoding="utf-8")))
    return {name: Gpu.model_validate({"name": name, **own}) for name, own in facts.items()}
