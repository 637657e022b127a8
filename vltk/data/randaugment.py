"""RandAugment with the operations of ALBEF and BLIP (salesforce/BLIP transform/randaugment.py, data/__init__.py).

Of colours none is changed in hue, and nothing is cut out: identity, contrast (Pillow's autocontrast), brightness,
sharpness, equalize, shear, translate, rotate. At magnitude 5 brightness and sharpness are as they were.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

APPLIED = 0.5  # with this probability; otherwise the operation that was drawn is left out
MOST = 10.0  # magnitude
SHEAR, TRANSLATE, ROTATE = 0.3, 10.0, 30.0  # at the most: slope, pixels, degrees
ENHANCE = (0.1, 1.8)  # factor at magnitude 0, and what the most adds
FILL = (128, 128, 128)
_SMOOTH = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / 13  # Pillow's
_LEVELS = np.arange(256)


def randaugment(pixels: np.ndarray, count: int, magnitude: float, rng: np.random.Generator) -> np.ndarray:
    """`(H, W, 3)` uint8 through `count` operations drawn with replacement, all at `magnitude` (0 to 10)."""
    names = [tuple(OPERATIONS)[number] for number in rng.integers(len(OPERATIONS), size=count)]
    for name, (chance, side) in zip(names, rng.random((count, 2)), strict=True):
        if chance < APPLIED:
            pixels = OPERATIONS[name](pixels, magnitude / MOST, -1.0 if side < 0.5 else 1.0)
    return pixels


def autocontrast(pixels: np.ndarray) -> np.ndarray:
    """Each channel stretched to 0..255, as Pillow's ImageOps.autocontrast."""
    tables = []
    for channel in cv2.split(pixels):
        low, high, _, _ = cv2.minMaxLoc(channel)
        scale = 255 / (high - low) if high > low else 1.0
        tables.append(_LEVELS * scale - low * scale if high > low else _LEVELS)
    return _looked_up(pixels, tables)


def equalize(pixels: np.ndarray) -> np.ndarray:
    """Each channel's values spread evenly, as Pillow's ImageOps.equalize."""
    tables = []
    for channel in cv2.split(pixels):
        counts = cv2.calcHist([channel], [0], None, [256], [0, 256]).ravel().astype(np.int64)
        step = int(counts.sum() - counts[counts.nonzero()[0][-1]]) // 255
        tables.append((step // 2 + counts.cumsum() - counts) // step if step else _LEVELS)
    return _looked_up(pixels, tables)


def brightness(pixels: np.ndarray, factor: float) -> np.ndarray:
    """Every value times `factor`, as Pillow's ImageEnhance.Brightness."""
    return _looked_up(pixels, [_LEVELS * factor] * 3)


def sharpness(pixels: np.ndarray, factor: float) -> np.ndarray:
    """Away from the smoothed image, below 1 towards it, the border left alone; as Pillow's ImageEnhance.Sharpness."""
    smooth = cv2.filter2D(pixels, -1, _SMOOTH)
    for border in (np.s_[:1], np.s_[-1:], np.s_[:, :1], np.s_[:, -1:]):
        smooth[border] = pixels[border]
    sharper: np.ndarray = cv2.addWeighted(pixels, factor, smooth, 1 - factor, 0)
    return sharper


def shear(pixels: np.ndarray, x: float, y: float) -> np.ndarray:
    """Rows moved right by `x` times their number, columns down by `y` times theirs."""
    return _moved(pixels, [[1, x, 0], [y, 1, 0]])


def translate(pixels: np.ndarray, x: float, y: float) -> np.ndarray:
    """Moved left and up, in pixels."""
    return _moved(pixels, [[1, 0, -x], [0, 1, -y]])


def rotate(pixels: np.ndarray, degrees: float) -> np.ndarray:
    """Counter-clockwise about the middle."""
    return _moved(pixels, cv2.getRotationMatrix2D((pixels.shape[1] / 2, pixels.shape[0] / 2), degrees, 1))


def _moved(pixels: np.ndarray, matrix: object) -> np.ndarray:
    height, width = pixels.shape[:2]
    moved: np.ndarray = cv2.warpAffine(pixels, np.asarray(matrix, np.float64), (width, height), borderValue=FILL)
    return moved


def _looked_up(pixels: np.ndarray, tables: list[np.ndarray]) -> np.ndarray:
    """Each channel through its table of 256 values, cut off and rounded down."""
    table = np.stack(tables, 1).clip(0, 255).astype(np.uint8)[:, None]  # (256, 1, 3)
    found: np.ndarray = cv2.LUT(pixels, table)
    return found


def _factor(level: float) -> float:
    return ENHANCE[0] + ENHANCE[1] * level


OPERATIONS: dict[str, Callable[[np.ndarray, float, float], np.ndarray]] = {  # pixels, level 0..1, sign
    "identity": lambda pixels, level, sign: pixels,
    "autocontrast": lambda pixels, level, sign: autocontrast(pixels),
    "brightness": lambda pixels, level, sign: brightness(pixels, _factor(level)),
    "sharpness": lambda pixels, level, sign: sharpness(pixels, _factor(level)),
    "equalize": lambda pixels, level, sign: equalize(pixels),
    "shear x": lambda pixels, level, sign: shear(pixels, sign * SHEAR * level, 0.0),
    "shear y": lambda pixels, level, sign: shear(pixels, 0.0, sign * SHEAR * level),
    "translate x": lambda pixels, level, sign: translate(pixels, sign * TRANSLATE * level, 0.0),
    "translate y": lambda pixels, level, sign: translate(pixels, 0.0, sign * TRANSLATE * level),
    "rotate": lambda pixels, level, sign: rotate(pixels, sign * ROTATE * level),
}
