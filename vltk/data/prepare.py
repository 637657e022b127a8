"""One image on its way into a shard: limits by the header, decoded once, upright, shrunk once; good bytes are kept."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import Any

import numpy as np
import simplejpeg
from PIL import Image

from vltk.data.hashes import dhash, sha256
from vltk.data.image import DECODE_ERRORS, MAX_PIXELS, BadImage, decode, open_image, resize, to_rgb, undecodable
from vltk.data.statuses import Status
from vltk.errors import VltkError

MIN_SIDE = 8  # pixels; smaller ones are spacers and tracking pixels
CEILING = 178_000_000  # pixels that Pillow opens
LARGE, _LARGE = 16_000_000, Lock()  # images of more pixels are decoded one at a time, to bound memory
KEPT_MODES = {"JPEG": ("RGB", "L"), "PNG": ("RGB", "L")}
ORIENTATION = 0x0112  # the EXIF tag
# EXIF orientation to quarter turns against the clock, then mirror left to right
UPRIGHT = {2: (0, True), 3: (2, False), 4: (2, True), 5: (3, True), 6: (3, False), 7: (1, True), 8: (1, False)}
STARTS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*")


@dataclass(frozen=True)
class Limits:
    """What an image may be, and what is stored of it. Raises VltkError for values that cannot be meant."""

    max_bytes: int | None = 20 * 2**20  # of the original; None: any
    max_pixels: int = 50_000_000  # of the original, by its header
    min_side: int = MIN_SIDE  # of the original, in pixels
    max_aspect: float = 10.0  # long side over short side
    short_side: int = 256  # larger images are shrunk to it; 0: kept
    quality: int = 90  # of the JPEG, where one is made

    def __post_init__(self) -> None:
        for name, meant in mistakes(vars(self)).items():
            raise VltkError(f"--{name.replace('_', '-')} {getattr(self, name)}: {meant}")


def mistakes(given: Mapping[str, Any]) -> dict[str, str]:
    """What is meant by each of the fields of Limits that has a value which cannot be meant."""
    ceiling = CEILING if given["short_side"] else MAX_PIXELS  # what is stored is decoded again
    right = {
        "max_bytes": (given["max_bytes"] is None or given["max_bytes"] > 0, "at least 1 byte"),
        "max_pixels": (0 < given["max_pixels"] <= ceiling, f"1 to {ceiling:,} pixels"),
        "min_side": (given["min_side"] >= 1, "at least 1 pixel"),
        "max_aspect": (given["max_aspect"] >= 1, "at least 1"),
        "short_side": (
            given["short_side"] == 0 or given["short_side"] >= MIN_SIDE,
            f"at least {MIN_SIDE} pixels, or 0 to keep images as they are",
        ),
        "quality": (1 <= given["quality"] <= 100, "1 to 100"),
    }
    return {name: meant for name, (fine, meant) in right.items() if not fine}


@dataclass(frozen=True)
class Admitted:
    """An image to store: its bytes, sizes in pixels (upright), and what is known of the original."""

    image: bytes
    width: int
    height: int
    original_width: int
    original_height: int
    sha256: str
    dhash: int
    bytes: int

    @cached_property
    def row(self) -> dict[str, Any]:
        """The columns of the rows parquet that these fill."""
        return {name: value for name, value in vars(self).items() if name not in ("image", "row")}


class NotAdmitted(Exception):
    """An image that is not stored: the status, a sentence, and columns of its row that are known."""

    def __init__(self, status: Status, detail: str, row: dict[str, Any] | None = None) -> None:
        super().__init__(f"{status.value}: {detail}")
        self.status, self.detail, self.row = status, detail, row or {}


def admit(data: bytes, limits: Limits) -> Admitted:
    """Check and prepare encoded image bytes; bytes that will do are stored as they are. Raises NotAdmitted.

    Nothing is decoded before the header is within the limits. Never enlarges; of an animation, the first frame.
    """
    facts: dict[str, Any] = {"bytes": len(data), "sha256": sha256(data)}
    if limits.max_bytes is not None and len(data) > limits.max_bytes:
        raise NotAdmitted(Status.too_large, f"{len(data)} bytes, more than {limits.max_bytes}", facts)
    try:
        with _opened(data) as image:
            facts |= {"original_width": image.width, "original_height": image.height}
            _check_size(image, limits)
            return _admitted(data, image, limits, facts)
    except NotAdmitted as reason:
        reason.row = facts
        raise
    except BadImage as reason:
        raise NotAdmitted(Status.undecodable, str(reason), facts) from None
    except DECODE_ERRORS as error:
        raise NotAdmitted(Status.undecodable, str(undecodable(data, error)), facts) from None


def _opened(data: bytes) -> Image.Image:
    """The image with its header read. Raises NotAdmitted."""
    try:
        return open_image(data)
    except Image.DecompressionBombError as error:
        raise NotAdmitted(Status.too_many_pixels, str(error).partition(",")[0]) from None
    except DECODE_ERRORS as error:
        if _looks_like_image(data):
            raise undecodable(data, error) from None
        raise NotAdmitted(Status.not_an_image, f"{len(data)} bytes that begin with {data[:32]!r}") from None


def _looks_like_image(data: bytes) -> bool:
    return data.startswith(STARTS) or data[:4] + data[8:12] == b"RIFFWEBP" or data[4:12] == b"ftypavif"


def _check_size(image: Image.Image, limits: Limits) -> None:
    """Raises NotAdmitted for an image whose header is beyond the limits."""
    short, long = sorted(image.size)
    size = f"{image.width} x {image.height} pixels"
    if short * long > limits.max_pixels:
        raise NotAdmitted(Status.too_many_pixels, f"{size}, more than {limits.max_pixels / 10**6:g} million")
    if short < limits.min_side:
        raise NotAdmitted(Status.too_small, f"{size}, the smallest side allowed is {limits.min_side}")
    if long > limits.max_aspect * short:
        raise NotAdmitted(Status.too_long_side, f"{size}, more than {limits.max_aspect:g} to 1")


def _admitted(data: bytes, image: Image.Image, limits: Limits, facts: dict[str, Any]) -> Admitted:
    scale = limits.short_side / min(image.size)
    size = (max(1, round(image.height * scale)), max(1, round(image.width * scale))) if 0 < scale < 1 else None
    with _LARGE if image.width * image.height > LARGE else nullcontext():
        pixels = _pixels(data, image, limits, size)
        if size is not None:
            pixels = resize(pixels, *size)
    orientation = _orientation(image)
    pixels = _upright(pixels, orientation)
    kept = size is None and orientation not in UPRIGHT and _is_plain(image)
    height, width = pixels.shape[:2]
    original = image.size[::-1] if orientation in (5, 6, 7, 8) else image.size
    stored = data if kept else _encode(pixels, limits.quality)
    return Admitted(stored, width, height, *original, facts["sha256"], dhash(pixels), facts["bytes"])


def _pixels(data: bytes, image: Image.Image, limits: Limits, size: tuple[int, int] | None) -> np.ndarray:
    """`(H, W, 3)`; a JPEG that will be shrunk to `size` is decoded to twice that or more."""
    if not data.startswith(b"\xff\xd8"):
        return to_rgb(image)
    return decode(data, limits.max_pixels, (2 * size[0], 2 * size[1]) if size else (0, 0))


def _is_plain(image: Image.Image) -> bool:
    """Whether every reader of shards takes these bytes as they are."""
    return image.mode in KEPT_MODES.get(image.format or "", ()) and "transparency" not in image.info


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation; EXIF data that cannot be read counts for nothing, as in any viewer."""
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except (*DECODE_ERRORS, KeyError, TypeError, IndexError, AttributeError):
        return 1


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    turns, mirror = UPRIGHT.get(orientation, (0, False))
    pixels = np.rot90(pixels, turns)
    return np.ascontiguousarray(pixels[:, ::-1] if mirror else pixels)


def _encode(pixels: np.ndarray, quality: int) -> bytes:
    encoded: bytes = simplejpeg.encode_jpeg(pixels, quality=quality, colorspace="RGB", colorsubsampling="420")
    return encoded
