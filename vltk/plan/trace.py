"""A pass over tensors of shapes alone, counted: FLOPs by module, and the most bytes that were alive at once.

FLOPs are those of matrix products, convolutions and attention, by torch's own formulas (torch.utils.flop_counter); a
multiplication and an addition are two. Bytes are those of every storage from when it is made until nobody holds it.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, sdpa_flop_count

from vltk.plan.values import Values

_aten = torch.ops.aten
OUTSIDE = "losses"  # of operations in no named module
Work = Counter[tuple[str, str]]  # FLOPs by (module, arithmetic: bf16, fp16, fp32, or convolution for those in fp32)


def _attention(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(query.shape, key.shape, value.shape))


def _attention_backward(gradient: Tensor, *inputs: Any, **_: Any) -> int:
    """Twice the forward pass, as of every product: what the kernel computes anew is left out."""
    return 2 * _attention(*inputs)


_FORMULAS = {
    **flop_registry,
    _aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    _aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}
_CONVOLUTIONS = {_aten.convolution, _aten.convolution_backward, _aten._convolution}


class Trace(TorchDispatchMode):
    """Counts what runs inside it, which must be inside a FakeTensorMode too.

    names: of the modules that FLOPs are booked on; what runs inside a module without a name is that of the one around
    it. Backward is booked on the module whose forward it belongs to. values: those of the batch.
    trained: the parameters whose gradients are bytes of their own: `peak` is without them, `together` with those there
    were; `reached` are the names of those that got one.
    """

    def __init__(
        self, names: Mapping[nn.Module, str], values: Values, trained: Iterable[tuple[str, nn.Parameter]] = ()
    ) -> None:
        super().__init__()
        self.work: Work = Counter()
        self.alive = self.peak = self.together = self.gradients = 0
        self.reached: set[str] = set()
        self._names, self._values, self._trained = dict(names), values, list(trained)
        self._running: list[str] = []
        self._owners: dict[int, str] = {}  # by the number of the autograd node that an operation has made
        self._held: dict[int, weakref.ref[Any]] = {}
        self._hooks: list[Any] = []

    def __enter__(self) -> Self:
        self._hooks = [register_module_forward_pre_hook(self._begin), register_module_forward_hook(self._end)]
        for name, parameter in self._trained:
            self._hooks.append(parameter.register_post_accumulate_grad_hook(self._booking(name)))
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        for hook in self._hooks:
            hook.remove()
        for _, parameter in self._trained:
            parameter.grad = None

    @contextmanager
    def inside(self, name: str) -> Iterator[None]:
        """Books what runs in no module of its own on `name`."""
        self._running.append(name)
        try:
            yield
        finally:
            self._running.pop()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func.namespace == "prim":  # where a tensor lies, and the like
            return func(*args, **kwargs)
        if func is _aten._local_scalar_dense.default:
            return self._values.number(args[0])
        if func is _aten.bincount.default:  # of codes, whose values nobody knows
            return args[0].new_zeros(args[2] if len(args) > 2 else 1)
        if func is _aten.index.Tensor:
            args = (args[0], self._values.rows(args[1]))
        made = func(*args, **kwargs)
        self._values.follow(func, args, kwargs, made)
        self._book(func, args, kwargs, made)
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                self.hold(tensor)
        return made

    def hold(self, tensor: Tensor) -> None:
        """Counts the bytes of a tensor while it lives."""
        storage = tensor.untyped_storage()
        key, size = id(storage), storage.nbytes()
        if key in self._held:
            return

        def gone(_: Any) -> None:
            if self._held.pop(key, None) is not None:
                self.alive -= size

        self._held[key] = weakref.ref(storage, gone)
        self.alive += size
        self.peak = max(self.peak, self.alive)
        self.together = max(self.together, self.alive + self.gradients)

    def _booking(self, name: str) -> Any:
        def book(parameter: Tensor) -> None:
            assert parameter.grad is not None
            storage = parameter.grad.untyped_storage()
            if self._held.pop(id(storage), None) is not None:
                self.alive -= storage.nbytes()
            if name not in self.reached:
                self.reached.add(name)
                self.gradients += storage.nbytes()

        return book

    def _book(self, func: Any, args: Any, kwargs: Any, made: Any) -> None:
        node = torch._C._current_autograd_node()
        if node is None or self._running:
            self._owners.setdefault(torch._C._autograd._get_sequence_nr() - 1, self._owner())
        formula = _FORMULAS.get(func._overloadpacket)
        if formula is None:
            return
        owner = self._owners.get(node._sequence_nr(), OUTSIDE) if node and not self._running else self._owner()
        kind = str(next(t for t in tree_leaves(made) if isinstance(t, Tensor)).dtype).removeprefix("torch.")
        if kind == "float32" and func._overloadpacket in _CONVOLUTIONS:
            kind = "convolution"
        self.work[owner, kind] += formula(*args, **kwargs, out_val=made)

    def _owner(self) -> str:
        return self._running[-1] if self._running else OUTSIDE

    def _begin(self, module: nn.Module, *_: Any) -> None:
        self._running.append(self._names.get(module, self._owner()))

    def _end(self, *_: Any) -> None:
        self._running.pop()
