"""MFU while it trains: FLOPs of the steps over the most that matrix products reach on this device."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from vltk.train.ceiling import products
from vltk.train.engines._scale import LOW, Precision

PATIENCE = 20  # seconds of training before the ceiling is measured: shorter runs do not wait for it
PROBE = 0.05  # seconds of each product then


class Flops(TorchDispatchMode):
    """Counts those of matrix products, convolutions and attention inside it, forward and backward."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        made = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.total += formula(*args, **(kwargs or {}), out_val=made)
        return made


class Utilisation:
    """Counts the first step of each stream on this rank and takes the others for alike: texts differ by some tokens."""

    def __init__(self, device: torch.device, precision: Precision) -> None:
        self._device, self._dtype = device, LOW.get(precision, torch.float32)
        self._flops: dict[str, Flops] = {}
        self._ceiling = 0.0

    def counting(self, stream: str) -> AbstractContextManager[object]:
        """Around forward and backward of a step."""
        return nullcontext() if stream in self._flops else self._flops.setdefault(stream, Flops())

    def of(self, steps: Mapping[str, int], window: float, trained: float) -> float | None:
        """MFU of so many steps by stream in `window` seconds; None in the first seconds that were `trained`."""
        if trained < PATIENCE:
            return None
        reached = sum(count * self._flops[stream].total for stream, count in steps.items()) / window
        if reached > self._ceiling:  # not measured yet, or while others used the machine
            self._ceiling = max(self._ceiling, products(self._device, self._dtype, PROBE))
        return reached / self._ceiling
