"""A small photograph for fixtures, another for each number."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np


def photo(number: int, side: int = 32, ending: str = ".jpg") -> bytes:
    """Encoded; (side, side, 3) of a colour that the number chooses, with a bright corner."""
    pixels = np.full((side, side, 3), [number * 37 % 256, number * 91 % 256, number * 53 % 256], np.uint8)
    pixels[: side // 4, : side // 4] = 255
    return bytes(cv2.imencode(ending, pixels)[1].tobytes())


def write_photo(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(photo(number, ending=path.suffix))
