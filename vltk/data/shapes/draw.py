"""Drawing a scene: smooth edges at any size (masks at four times the resolution), textures, light, JPEG."""

from __future__ import annotations

import cv2
import numpy as np
import simplejpeg

from vltk.data.shapes.lexicon import COLORS, SHAPES, TINTS
from vltk.data.shapes.scene import SIDE, Scene, Thing

QUALITY = 90  # about 3 kB an image
_FINE = 4  # masks are drawn so much larger, then averaged
_HOLE = 0.52  # of a ring, in radii of the ring
_AREA = 2.3  # of every outline of radius 1: how much of its colour is seen does not tell a shape
_REACH = 1.35  # no outline goes farther out than this, in radii
_ROWS, _COLUMNS = np.mgrid[:SIDE, :SIDE].astype(np.float32)


def draw(scene: Scene) -> np.ndarray:
    """The scene as (96, 96, 3) uint8 RGB."""
    rng = np.random.default_rng(scene.seed)
    canvas = _background(scene, rng)
    for thing in scene.things:
        _draw_thing(canvas, thing, rng)
    canvas *= rng.uniform(0.82, 1.0)  # light
    image: np.ndarray = np.clip(canvas, 0, 255).astype(np.uint8)
    return image


def encode(image: np.ndarray) -> bytes:
    """(H, W, 3) uint8 RGB as JPEG with full colour resolution."""
    data: bytes = simplejpeg.encode_jpeg(image, quality=QUALITY, colorspace="RGB", colorsubsampling="444")
    return data


def _background(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """(96, 96, 3) float32."""
    kind, tint = scene.backdrop
    color = np.array(TINTS[tint], np.float32) * np.float32(rng.uniform(0.8, 1.05))
    slant, phase = rng.uniform(0, 2 * np.pi), rng.uniform(0, SIDE)
    along = (_COLUMNS - SIDE / 2) * np.float32(np.cos(slant)) + (_ROWS - SIDE / 2) * np.float32(np.sin(slant))
    if kind == "gradient":
        light = 0.92 + 0.0016 * along
    elif kind == "noisy":
        light = 0.96 + 0.03 * rng.standard_normal((SIDE, SIDE), dtype=np.float32)
    elif kind == "grid":
        rows, columns = (_ROWS + phase) % 12 < 1.5, (_COLUMNS + phase) % 12 < 1.5
        light = 1 - 0.1 * (rows | columns)
    elif kind == "striped":
        light = 0.95 + 0.05 * np.clip(2.5 * np.sin((along + phase) * (2 * np.pi / 19)), -1, 1)
    elif kind == "split":
        light = 0.93 + 0.07 * np.clip(along, -1, 1)
    else:
        light = np.ones((SIDE, SIDE))
    return color * np.asarray(light, np.float32)[..., None]


def _draw_thing(canvas: np.ndarray, thing: Thing, rng: np.random.Generator) -> None:
    radius = thing.diameter / 2
    left, top = int(thing.x - radius * _REACH), int(thing.y - radius * _REACH)
    side = int(2 * radius * _REACH) + 2
    outline = _turned(thing) * radius + (thing.x - left, thing.y - top)
    x0, y0, x1, y1 = max(-left, 0), max(-top, 0), min(side, SIDE - left), min(side, SIDE - top)
    cover = _mask(thing.look.shape, outline, side)[y0:y1, x0:x1, None]
    paint = _paint(thing, side, rng)[y0:y1, x0:x1]
    part = canvas[top + y0 : top + y1, left + x0 : left + x1]
    part += cover * (paint - part)


def _turned(thing: Thing) -> np.ndarray:
    """The outline's points (P, 2) about the origin, for radius 1."""
    angle = np.deg2rad(thing.angle)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    outline: np.ndarray = OUTLINES[thing.look.shape] @ turn
    return outline


def _mask(shape: str, outline: np.ndarray, side: int) -> np.ndarray:
    """How much of each pixel lies inside the outline: (side, side) float32 in 0..1."""
    fine = np.zeros((side * _FINE, side * _FINE), np.uint8)
    contours = [np.rint(outline * _FINE).astype(np.int32)]
    if shape == "ring":
        middle = outline.mean(0)
        contours.append(np.rint(((outline - middle) * _HOLE + middle) * _FINE).astype(np.int32))
    cv2.fillPoly(fine, contours, 255)
    return cv2.resize(fine, (side, side), interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def _paint(thing: Thing, side: int, rng: np.random.Generator) -> np.ndarray:
    """The object's texture, (side, side, 3) float32: its colour and a lighter or darker kind of it."""
    color = np.array(COLORS[thing.look.color], np.float32)
    color = np.clip(color * np.float32(rng.uniform(0.92, 1.04)) + rng.uniform(-7, 7, 3).astype(np.float32), 0, 255)
    slant, phase = rng.uniform(0, np.pi), rng.uniform(0, 2 * np.pi)
    if thing.look.texture == "plain":
        return np.broadcast_to(color, (side, side, 3))
    other = color * 0.72 if color @ (0.3, 0.59, 0.11) > 110 else color + 0.28 * (255 - color)
    period = 5.5 + thing.diameter * 0.06
    scale, cosine, sine = (np.float32(value) for value in (2 * np.pi / period, np.cos(slant), np.sin(slant)))
    rows, columns = _ROWS[:side, :side] * scale, _COLUMNS[:side, :side] * scale
    u, v = columns * cosine + rows * sine + np.float32(phase), rows * cosine - columns * sine
    share = TEXTURES[thing.look.texture](u, v)[..., None]
    paint: np.ndarray = color + share * (other.astype(np.float32) - color)
    return paint


def _dots(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.clip((np.cos(u * 0.9) + np.cos(v * 0.9) - 0.7) * 2 + 0.5, 0, 1)


def _checks(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    share: np.ndarray = np.clip(np.sin(u * 0.8) * np.sin(v * 0.8) * 3 + 0.5, 0, 1)
    return share


def _stripes(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    share: np.ndarray = np.clip(np.sin(u) * 1.6 + 0.5, 0, 1)
    return share


TEXTURES = {"striped": _stripes, "dotted": _dots, "checked": _checks}  # share of the other colour, 0..1


def _arc(start: float, stop: float, points: int) -> np.ndarray:
    angles = np.linspace(start, stop, points)
    return np.stack([np.cos(angles), np.sin(angles)], 1)


def _star() -> np.ndarray:
    angles = np.arange(10) * np.pi / 5 - np.pi / 2
    return np.stack([np.cos(angles), np.sin(angles)], 1) * np.where(np.arange(10) % 2, 0.56, 1.2)[:, None]


def _cross() -> np.ndarray:
    long, wide = 1.05, 0.37
    quarter = np.array([(long, -wide), (long, wide), (wide, wide)])
    turns = [np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]]) for a in np.arange(4) * np.pi / 2]
    return np.concatenate([quarter @ turn for turn in turns])


def _fitted(outline: np.ndarray, filled: float = 1.0) -> np.ndarray:
    """The outline, made so large that its filled part has the common area."""
    x, y = outline.T
    area = filled * abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2
    fitted: np.ndarray = outline * np.sqrt(_AREA / area)
    return fitted


OUTLINES: dict[str, np.ndarray] = {  # points (P, 2) for radius 1, y downwards
    "circle": _fitted(_arc(0, 2 * np.pi, 48)),
    "square": _fitted(_arc(np.pi / 4, np.pi * 7 / 4, 4)),
    "triangle": _fitted(_arc(-np.pi / 2, np.pi * 5 / 6, 3) + np.array([0, 0.16])),
    "star": _fitted(_star()),
    "cross": _fitted(_cross()),
    "ring": _fitted(_arc(0, 2 * np.pi, 48), filled=1 - _HOLE**2),
}
assert OUTLINES.keys() == SHAPES.keys()
