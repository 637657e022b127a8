"""The orders in which streams visit the modules, which ZeRO-3 learns so as to fetch weights ahead of their use.

DeepSpeed keeps one order and drops it when a pass leaves it. Streams that alternate would make it learn anew in every
step, with a comparison over all ranks and nothing fetched ahead. Here each kind of pass has an order of its own.
"""

from __future__ import annotations

from collections.abc import Hashable
from copy import copy
from typing import Any

from torch import nn


class Orders:
    """DeepSpeed's coordinators of parameters, by kind of pass; `offload` is what holds the one in use.

    Modules get to know which parameters of others they use when they first do so, mostly in the first step of a stream;
    orders learnt before that are wrong and are learnt again.
    """

    def __init__(self, module: nn.Module, offload: Any) -> None:
        self._modules, self._foreign = list(module.modules()), 0
        self._offload = offload
        self._blank = copy(offload.param_coordinator)  # before its first pass
        self._known: dict[Hashable, Any] = {}

    def choose(self, kind: Hashable) -> None:
        """The next pass is of this kind."""
        foreign = sum(len(getattr(module, "_external_params", ())) for module in self._modules)
        if foreign != self._foreign:
            self._foreign = foreign
            self.forget()
        if kind not in self._known:
            self._known[kind] = self._fresh()
        self._offload.param_coordinator = self._known[kind]

    def forget(self) -> None:
        """Every order is learnt again."""
        self._known.clear()
        self._offload.param_coordinator = self._fresh()

    def _fresh(self) -> Any:
        coordinator = copy(self._blank)
        coordinator._clear_trace_structures()
        return coordinator
