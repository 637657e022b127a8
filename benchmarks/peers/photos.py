"""Photos and captions of one sharded data set, held in RAM so that no peer ever waits for data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from torch import Tensor

from vltk.data.image import decode

MEAN = 255 * torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(1, 3, 1, 1)  # CLIP's own, as FLAVA uses
STD = 255 * torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(1, 3, 1, 1)


class Pairs(Protocol):
    """What is read of a data set (`vltk.data.dataset.Dataset`)."""

    def __len__(self) -> int: ...

    def read(self, index: int) -> Any: ...


class Encoder(Protocol):
    """What is asked of a tokenizer (`vltk.data.text.Tokenizer`)."""

    def encode(self, text: str) -> Any: ...


@dataclass(frozen=True)
class Photos:
    """N photos, squashed to one size, each with its captions as token ids."""

    images: np.ndarray  # (N, S, S, 3) uint8
    captions: list[list[np.ndarray]]  # of each photo: the ids of each caption, [CLS] ... [SEP]

    def __len__(self) -> int:
        return len(self.captions)

    def crops(self, indices: np.ndarray, size: int, scale: tuple[float, float], rng: np.random.Generator) -> Tensor:
        """One random crop of each photo, `scale` of its area, as normalised pixels (B, 3, size, size)."""
        sides = np.sqrt(rng.uniform(*scale, len(indices))) * self.images.shape[1]
        drawn = zip(indices, sides, strict=True)
        return normalise(np.stack([_crop(self.images[i], round(side), size, rng) for i, side in drawn]))

    def draw_captions(self, indices: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
        """One caption of each photo, at random."""
        return [self.captions[i][rng.integers(len(self.captions[i]))] for i in indices]

    def all_captions(self) -> tuple[list[np.ndarray], np.ndarray]:
        """Every caption, and the photo that each belongs to (C,)."""
        owners = np.repeat(np.arange(len(self)), [len(captions) for captions in self.captions])
        return [ids for captions in self.captions for ids in captions], owners


def load_photos(dataset: Pairs, tokenizer: Encoder, side: int) -> Photos:
    """Decodes a whole data set into RAM: `side` x `side` pixels a photo, all captions tokenised."""
    images = np.empty((len(dataset), side, side, 3), dtype=np.uint8)
    captions = []
    for i in range(len(dataset)):
        sample = dataset.read(i)
        images[i] = cv2.resize(decode(sample.image), (side, side), interpolation=cv2.INTER_AREA)
        captions.append([np.asarray(tokenizer.encode(text)[0], dtype=np.int64) for text in sample.texts])
    return Photos(images, captions)


def normalise(images: np.ndarray) -> Tensor:
    """uint8 (B, S, S, 3) to normalised float pixels (B, 3, S, S)."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().float().sub_(MEAN).div_(STD)


def pad(captions: list[np.ndarray], pad_id: int) -> tuple[Tensor, Tensor]:
    """Ids padded to the longest of the batch (B, T), and which of them are real (B, T)."""
    lengths = np.array([len(ids) for ids in captions])
    padded = np.full((len(captions), lengths.max()), pad_id, dtype=np.int64)
    for row, ids in zip(padded, captions, strict=True):
        row[: len(ids)] = ids
    return torch.from_numpy(padded), torch.from_numpy(np.arange(lengths.max()) < lengths[:, None])


def _crop(image: np.ndarray, side: int, size: int, rng: np.random.Generator) -> np.ndarray:
    top, left = rng.integers(image.shape[0] - side + 1, size=2)
    return cv2.resize(image[top : top + side, left : left + side], (size, size), interpolation=cv2.INTER_AREA)
