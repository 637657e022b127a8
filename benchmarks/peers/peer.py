"""What the benchmark asks of a peer: draw a batch, give its loss, embed images and texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from torch import Tensor, nn

from benchmarks.peers.photos import Photos

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Sizes:
    """The sizes that all models share: those of recipes/flava-flickr8k.yaml."""

    width: int = 192
    heads: int = 3
    mlp: int = 768
    image_depth: int = 4
    text_depth: int = 4
    fusion_depth: int = 2
    image: int = 112
    patch: int = 16
    max_length: int = 77


@dataclass(frozen=True)
class Words:
    """The vocabulary's size and special ids."""

    size: int
    pad: int
    cls: int
    sep: int
    mask: int


class Peer(Protocol):
    """A transformers model with the way it is trained."""

    name: str
    batch_size: int
    model: nn.Module

    def draw(self, photos: Photos, indices: np.ndarray, crop: tuple[float, float], rng: np.random.Generator) -> Batch:
        """The batch of one step."""

    def loss(self, batch: Batch) -> Tensor:
        """The scalar loss of that batch."""

    def after_step(self) -> None:
        """What follows an optimizer step."""

    def embed_image(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, E), normalised."""

    def embed_text(self, ids: Tensor, real: Tensor) -> Tensor:
        """(B, T), (B, T) -> (B, E), normalised."""
