"""The recalls that every model here is judged by: `vltk.eval.metrics.retrieval`, ties against the model."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from vltk.eval.metrics.retrieval import RECALLS, image_to_text_ranks, recall, text_to_image_ranks


def recalls(images: Tensor, texts: Tensor, owners: np.ndarray) -> dict[str, float]:
    """images (N, E), texts (C, E), owners (C,) the image of each text -> per cent, by the names of `results.jsonl`."""
    found = images.float().numpy(), texts.float().numpy(), owners
    ranks = {"image_to_text": image_to_text_ranks(*found), "text_to_image": text_to_image_ranks(*found)}
    return {f"{way} R@{k}": recall(rank, k) for way, rank in ranks.items() for k in RECALLS}
