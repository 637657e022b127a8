"""Safetensors files, written in one go with their sha256.

The library's `save_file` first copies every tensor into Python bytes, and holds the interpreter while it writes:
training would stand still beside it. Here numbers go from memory to disk in slices, during which others may run.
The format: 8 bytes with the length of the header, the header as JSON, the numbers (huggingface.co/docs/safetensors).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

DTYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.int64: "I64", torch.int32: "I32", torch.int16: "I16",
    torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip
SLICE = 2**23  # bytes between two looks at the interpreter's lock


@dataclass(frozen=True)
class Written:
    """Size and checksum of a file."""

    bytes: int
    sha256: str


def write(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Written:
    """Writes CPU tensors; not forced to disk. Raises OSError."""
    ordered = sorted(tensors.items(), key=lambda item: -item[1].element_size())  # each begins at a multiple of its size
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name, tensor in ordered:
        start, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    digest = hashlib.sha256()
    with path.open("wb", buffering=0) as file:
        for part in (memoryview(len(text).to_bytes(8, "little") + text), *(_bytes(tensor) for _, tensor in ordered)):
            for first in range(0, len(part), SLICE):
                _put(file, part[first : first + SLICE])
                digest.update(part[first : first + SLICE])
    return Written(8 + len(text) + end, digest.hexdigest())


def _put(file: Any, part: Any) -> None:
    """All of it: an unbuffered write may end early."""
    while len(part):
        part = part[file.write(part) :]


def _bytes(tensor: Tensor) -> memoryview:
    numbers: Any = tensor.contiguous().reshape(-1).view(torch.uint8).numpy()
    return memoryview(numbers)
