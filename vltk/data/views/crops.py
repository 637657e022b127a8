"""Two large crops of an image and some small ones, each changed at random (facebookresearch/dino main_dino.py).

Mirrored by half; colours jittered with probability 0.8 (brightness and contrast by 0.4, saturation by 0.2, hue by 0.1,
in a random order); grey with 0.2; blurred with 1.0 and 0.1 (large crops) and 0.5 (small ones); the second large one
solarised with 0.2.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from vltk.data.draft import Draft, Draws
from vltk.data.image import crop_box, take

JITTERED, GREY, SOLARISED = 0.8, 0.2, 0.2
BRIGHTNESS, CONTRAST, SATURATION, HUE = 0.4, 0.4, 0.2, 0.1
BLURRED = (1.0, 0.1)  # of the large crops
BLURRED_SMALL = 0.5
_LUMA = np.array([0.299, 0.587, 0.114])
_LEVELS = np.arange(256, dtype=np.float32)
_SOLARISED = np.where(_LEVELS < 128, _LEVELS, 255 - _LEVELS).astype(np.uint8)


@dataclass(frozen=True)
class _Cut:
    """A random resized crop, as torchvision's."""

    size: int
    crop: tuple[float, float]
    ratio: tuple[float, float] = (0.75, 4 / 3)
    flip: bool = True


class Crops:
    """`crops`: `(2, 3, size, size)` uint8; `local_crops`: `(local_crops, 3, local_size, local_size)`, if there are any.

    scale, local_scale: the share of the image's area that a crop shows; blur: the least and largest radius (standard
    deviation) in pixels of the crop.
    """

    needs = ("image",)

    def __init__(
        self,
        *,
        size: int = 224,
        scale: tuple[float, float] = (0.4, 1.0),
        local_crops: int = 8,
        local_size: int = 96,
        local_scale: tuple[float, float] = (0.05, 0.4),
        blur: tuple[float, float] = (0.1, 2.0),
    ) -> None:
        self.large, self.small = _Cut(size, scale), _Cut(local_size, local_scale)
        self.local_crops, self.blur = local_crops, blur
        self.side = max(size, local_size if local_crops else 0)

    def __call__(self, draft: Draft, draws: Draws) -> dict[str, np.ndarray]:
        pixels, rng = draft.pixels, draws()
        first, second = (self._crop(pixels, self.large, blurred, rng) for blurred in BLURRED)
        if rng.random() < SOLARISED:
            second = cv2.LUT(second, _SOLARISED)
        views = {"crops": _planes([first, second])}
        if self.local_crops:
            small = [self._crop(pixels, self.small, BLURRED_SMALL, rng) for _ in range(self.local_crops)]
            views["local_crops"] = _planes(small)
        return views

    def _crop(self, pixels: np.ndarray, cut: _Cut, blurred: float, rng: np.random.Generator) -> np.ndarray:
        """`(size, size, 3)`: cut, mirrored, jittered, made grey, blurred."""
        crop = take(pixels, crop_box(pixels.shape[0], pixels.shape[1], cut, rng), cut.size)
        if rng.random() < JITTERED:
            crop = _jittered(crop, rng)
        if rng.random() < GREY:
            crop = cv2.transform(crop, np.tile(_LUMA, (3, 1)))
        if rng.random() < blurred:
            radius = self.blur[0] + rng.random() * (self.blur[1] - self.blur[0])
            crop = cv2.GaussianBlur(crop, (0, 0), radius, borderType=cv2.BORDER_REPLICATE)
        return crop


def _jittered(crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """torchvision's ColorJitter: the four changes, each by an amount of its own, in a random order."""
    brightness, contrast, saturation, hue = (2 * rng.random(4) - 1).tolist()
    changes = [
        lambda image: _scaled(image, 1 + BRIGHTNESS * brightness, 0.0),
        lambda image: _scaled(image, 1 + CONTRAST * contrast, float(_LUMA @ cv2.mean(image)[:3])),
        lambda image: _saturated(image, 1 + SATURATION * saturation),
        lambda image: _turned(image, HUE * hue),
    ]
    for number in rng.permutation(4):
        crop = changes[number](crop)
    return crop


def _scaled(image: np.ndarray, factor: float, around: float) -> np.ndarray:
    """Every value's distance from `around` times `factor`."""
    table = np.clip(around + factor * (_LEVELS - around) + 0.5, 0, 255).astype(np.uint8)
    scaled: np.ndarray = cv2.LUT(image, table)
    return scaled


def _saturated(image: np.ndarray, factor: float) -> np.ndarray:
    mixed: np.ndarray = cv2.transform(image, factor * np.eye(3) + (1 - factor) * _LUMA)
    return mixed


def _turned(image: np.ndarray, share: float) -> np.ndarray:
    """The hue turned by a share of the whole circle."""
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)
    hsv[..., 0] += np.uint8(round(share * 256) % 256)  # overflows round the circle
    turned: np.ndarray = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)
    return turned


def _planes(crops: list[np.ndarray]) -> np.ndarray:
    """n of `(S, S, 3)` -> `(n, 3, S, S)`."""
    planes = np.empty((len(crops), 3, *crops[0].shape[:2]), np.uint8)
    for crop, own in zip(crops, planes, strict=True):
        cv2.split(crop, [own[0], own[1], own[2]])
    return planes
