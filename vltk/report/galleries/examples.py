"""Examples for the galleries, the same ones in every report of the same data, and pictures as data addresses."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass, replace
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

    from vltk.data.dataset import Dataset, Sample

Image = NDArray[np.uint8]  # (3, H, W)
SEED = 7  # of every choice of examples
LARGEST = 224  # pixels of a picture's side; larger ones are scaled down


@dataclass(frozen=True)
class Source:
    """Where examples come from, and how they are used: `fused` when image and text are seen together."""

    data: str
    fused: bool = False
    held_out: bool = False

    @property
    def told(self) -> str:
        return f"<code>{escape(self.data)}</code> ({'not trained on' if self.held_out else 'training data'})"


def streams_with(recipe: dict[str, Any], *objectives: str) -> list[str]:
    """The first data set of each stream with one of these objectives, each once."""
    found = []
    for stream in (recipe.get("streams") or {}).values():
        parts = {(options or {}).get("part", name) for name, options in (stream.get("objectives") or {}).items()}
        if parts & set(objectives) and stream.get("data"):
            found.append(next(iter(stream["data"])))
    return list(dict.fromkeys(found))


def evaluated(recipe: dict[str, Any], protocol: str, key: str) -> list[Source]:
    """The data sets that the stage evaluates by this protocol, which calls them `key`; unseen ones first."""
    tasks = (recipe.get("evaluate") or {}).get("tasks") or {}
    chosen = [t[key] for name, t in tasks.items() if t and t.get("part", name) == protocol and key in t]
    seen = {data for stream in (recipe.get("streams") or {}).values() for data in stream.get("data") or []}
    found = [Source(data, held_out=data not in seen) for data in dict.fromkeys(chosen)]
    return sorted(found, key=lambda source: not source.held_out)


def pairs(recipe: dict[str, Any], *objectives: str) -> list[Source]:
    """One source of pairs for these objectives: evaluated ones where the stage has some, else of its streams."""
    trained_on = streams_with(recipe, *objectives)
    if not trained_on:
        return []
    chosen = evaluated(recipe, "retrieval", "data") or [Source(trained_on[0])]
    return [replace(chosen[0], fused=True)]


def samples(dataset: Dataset, count: int, *, image: bool = False, text: bool = False) -> list[Sample]:
    """Up to `count` samples of a fixed random order that have what is asked for (an image: one that decodes)."""
    chosen = _chosen(dataset, image, text)
    return [sample for _, sample in zip(range(count), chosen, strict=False)]


def _chosen(dataset: Dataset, image: bool, text: bool) -> Iterator[Sample]:
    from vltk.data.image import BadImage, decode

    for position in np.random.default_rng(SEED).permutation(len(dataset)):
        sample = dataset.read(int(position))
        if text and not any(t.strip() for t in sample.texts):
            continue
        if image:
            try:
                decode(sample.image or b"")
            except BadImage:
                continue  # counted when it was met in training; a gallery shows another
        yield sample


def tensor_of(chosen: list[Sample], size: int) -> torch.Tensor:
    """(B, 3, size, size) uint8, as evaluation sees them."""
    import torch

    from vltk.data.image import evaluation_image

    return torch.stack([torch.as_tensor(evaluation_image(s.image or b"", size)) for s in chosen])


def picture(image: Image, alt: str = "", name: str = "", largest: int = LARGEST) -> str:
    """An <img> with the picture inside."""
    import cv2

    pixels: Any = np.ascontiguousarray(
        np.asarray(image).transpose(1, 2, 0)[:, :, ::-1]
    )  # (3, H, W) RGB -> (H, W, 3) BGR
    side = max(pixels.shape[:2])
    if side > largest:
        scale = largest / side
        pixels = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    options = [cv2.IMWRITE_JPEG_QUALITY, 90, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    _, data = cv2.imencode(".jpg", pixels, options)
    address = f"data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}"
    return f'<img class="{name}" alt="{escape(alt)}" src="{address}">'
