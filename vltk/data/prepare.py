"""One image on its way into a shard: checked, turned upright, shrunk once; bytes that will do are kept."""

from __future__ import annotations

import io
import struct

import numpy as np
import simplejpeg
from PIL import Image

from vltk.data.image import BadImage, decode, resize

MIN_SIDE, MAX_ASPECT = 8, 10.0
KEPT_MODES = {"JPEG": ("RGB", "L"), "PNG": ("RGB", "L")}
# EXIF orientation to quarter turns against the clock, then mirror left to right
UPRIGHT = {2: (0, True), 3: (2, False), 4: (2, True), 5: (3, True), 6: (3, False), 7: (1, True), 8: (1, False)}


def prepare_image(data: bytes, short_side: int, quality: int) -> bytes:
    """Bytes to store: upright, short side at most `short_side` pixels (0: any). Raises BadImage with the reason."""
    pixels = decode(data)
    height, width = pixels.shape[:2]
    if min(height, width) < MIN_SIDE:
        raise BadImage(f"too small: {width} x {height} pixels")
    if max(height, width) > MAX_ASPECT * min(height, width):
        raise BadImage(f"too long: {width} x {height} pixels")
    orientation, plain = _look(data)
    shrink = short_side and min(height, width) > short_side
    if plain and not shrink and orientation not in UPRIGHT:
        return data
    if shrink:
        scale = short_side / min(height, width)
        pixels = resize(pixels, max(1, round(height * scale)), max(1, round(width * scale)))
    return _encode(_upright(pixels, orientation), quality)


def _look(data: bytes) -> tuple[int, bool]:
    """EXIF orientation, and whether the bytes may be stored as they are."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            plain = image.mode in KEPT_MODES.get(image.format or "", ()) and "transparency" not in image.info
            return image.getexif().get(0x0112, 1), plain
    except (OSError, ValueError, SyntaxError, struct.error) as error:
        raise BadImage(f"unreadable header: {error}") from None


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    turns, mirror = UPRIGHT.get(orientation, (0, False))
    pixels = np.rot90(pixels, turns)
    return np.ascontiguousarray(pixels[:, ::-1] if mirror else pixels)


def _encode(pixels: np.ndarray, quality: int) -> bytes:
    encoded: bytes = simplejpeg.encode_jpeg(pixels, quality=quality, colorspace="RGB", colorsubsampling="420")
    return encoded
