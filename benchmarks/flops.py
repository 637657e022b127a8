"""What a step of FLAVA has to compute, for MFU.

Useful FLOPs are those that the losses need: real tokens alone, passes that a loss reads, heads at masked positions; a
multiplication and an addition are two, training is three times forward. The last block counts as whole; the patch
projection once, as the clean and the masked pass share it.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from benchmarks.steps import Size


def useful(size: Size, batch: Mapping[str, Tensor], stream: str) -> float:
    """FLOPs of one step on our `batch`, forward and backward."""
    passes = 2 if stream == "pairs" else 1  # clean and masked
    found, count = 0.0, len(next(iter(batch.values())))
    if stream != "text":
        whole = torch.full((count,), 1 + size.patches)
        patches = 2 * count * size.patches * 3 * size.patch**2 * size.width
        found += passes * _blocks(size, size.image_depth, whole) + patches
    if stream != "image":
        found += passes * _blocks(size, size.text_depth, batch["text_length"])
    if stream == "pairs":
        joint = 2 + size.patches + batch["text_length"]
        found += _blocks(size, size.fusion_depth, joint) + 2 * float(joint.sum()) * size.width**2
    return 3 * (found + _heads(size, batch, stream))


def _blocks(size: Size, depth: int, lengths: Tensor) -> float:
    """Forward through `depth` blocks of sequences (B,) so long."""
    linear = 2 * (4 * size.width**2 + 2 * size.width * size.mlp) * float(lengths.sum())
    return depth * (linear + 4 * size.width * float(lengths.double().square().sum()))


def _heads(size: Size, batch: Mapping[str, Tensor], stream: str) -> float:
    """Forward of the prediction heads, at what is hidden of matched pairs."""
    matched = batch["positive"][:, None] if stream == "pairs" else torch.ones(1, 1, dtype=torch.bool)
    found = 0.0
    for name, classes in (("image_masked_at", size.codes), ("text_masked_at", size.vocab)):
        if name in batch:
            found += 2 * float((batch[name] & matched).sum()) * size.width * (size.width + classes)
    return found
