"""What a result or a kept feature was made of, as a short name: equal content, equal name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


def digest(facts: Mapping[str, Any]) -> str:
    """A short hash of plain data."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def weights_digest(model: nn.Module) -> str:
    """Of every tensor of the model: its name, type, shape and bytes, wherever it lies."""
    total = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        plain = tensor.detach().cpu().contiguous()
        total.update(f"{name} {plain.dtype} {tuple(plain.shape)}\n".encode())
        total.update(memoryview(plain.flatten().view(_bytes()).numpy()))
    return total.hexdigest()


def _bytes() -> Any:
    import torch

    return torch.uint8
