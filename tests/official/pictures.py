"""Pictures that show their class number and which way is up, so that a loader that mixes them up is seen."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

TONES = 25  # that can be told apart after JPEG


def picture(label: int, height: int = 48, width: int = 32) -> np.ndarray:
    """(H, W, 3) uint8 RGB: red tells the class, the first quarter of the rows is blue."""
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[:] = (_tone(label), 60, 20)
    pixels[: height // 4, :, 2] = 240
    return pixels


def grey(label: int, size: int) -> np.ndarray:
    """(size, size) uint8: the class, below a bright first quarter of the rows."""
    pixels = np.full((size, size), _tone(label), np.uint8)
    pixels[: size // 4] = 250
    return pixels


def save(path: Path, label: int, height: int = 48, width: int = 32) -> None:
    """The picture as a file of the kind that its name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(path.suffix, label, height, width))


def encoded(suffix: str, label: int, height: int = 48, width: int = 32) -> bytes:
    bgr = cv2.cvtColor(picture(label, height, width), cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(suffix.lower(), bgr)
    assert done
    return data.tobytes()


def shows(pixels: np.ndarray, label: int) -> bool:
    """Whether decoded pixels (H, W, 3) are the picture, or the grey one, of that class, and upright."""
    height, width = pixels.shape[:2]
    low = pixels[height // 2 :].reshape(-1, 3).mean(0)
    left = pixels[: height // 4 - 2, : width // 2].reshape(-1, 3).mean(0)
    right = pixels[: height // 4 - 2, width // 2 :].reshape(-1, 3).mean(0)
    red = abs(low[0] - _tone(label)) < 4
    if np.ptp(low) < 1:  # grey
        return bool(red and left.min() > 240 and right.min() > 240)
    return bool(red and low[2] < 40 and left[2] > 215 and right[2] > 215)


def _tone(label: int) -> int:
    return 20 + 8 * (label % TONES)
