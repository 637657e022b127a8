"""RandAugment: each operation against Pillow's, how often each comes, and the same image for the same draws."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from tests.unit.data.samples import OPTIONS, picture
from vltk.data import randaugment
from vltk.data.dataset import Dataset
from vltk.data.draft import rng_for
from vltk.data.image import decode
from vltk.data.randaugment import FILL, OPERATIONS
from vltk.data.stream import Stream

FACTORS = (0.1, 0.55, 1.0, 1.36, 1.9)
LINEAR = {"resample": Image.Resampling.BILINEAR, "fillcolor": FILL}


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(20, 200, (60, 80, 3), dtype=np.uint8)


def smooth(seed: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(30, 220, (5, 6, 3), dtype=np.uint8)
    image: np.ndarray = cv2.resize(coarse, (80, 60), interpolation=cv2.INTER_CUBIC)
    return image


@pytest.mark.parametrize("image", [noise(0), smooth(1), np.full((9, 7, 3), (0, 90, 255), np.uint8)])
def test_values_are_pillows(image: np.ndarray) -> None:
    theirs = Image.fromarray(image)
    assert np.array_equal(randaugment.autocontrast(image), ImageOps.autocontrast(theirs))
    assert np.array_equal(randaugment.equalize(image), ImageOps.equalize(theirs))
    for factor in FACTORS:
        ours = randaugment.brightness(image, factor)
        assert np.array_equal(ours, ImageEnhance.Brightness(theirs).enhance(factor))
        sharper = np.asarray(ImageEnhance.Sharpness(theirs).enhance(factor)).astype(int)
        assert np.abs(randaugment.sharpness(image, factor) - sharper).max() <= 1  # Pillow rounds down
    assert np.array_equal(randaugment.sharpness(image, 1.0), image)


def moves(image: np.ndarray) -> dict[str, tuple[np.ndarray, Image.Image]]:
    """Ours and Pillow's, which counts from the corner of a pixel and not from its middle."""
    theirs, affine = Image.fromarray(image), Image.Transform.AFFINE

    def pillow(*matrix: float) -> Image.Image:
        return theirs.transform(theirs.size, affine, matrix, **LINEAR)  # type: ignore[arg-type]

    return {
        "shear x": (randaugment.shear(image, 0.21, 0), pillow(1, -0.21, 0.105, 0, 1, 0)),
        "shear y": (randaugment.shear(image, 0, -0.15), pillow(1, 0, 0, 0.15, 1, -0.075)),
        "translate x": (randaugment.translate(image, 7, 0), pillow(1, 0, 7, 0, 1, 0)),
        "translate y": (randaugment.translate(image, 0, -5), pillow(1, 0, 0, 0, 1, -5)),
        "rotate": (randaugment.rotate(image, 21), theirs.rotate(21, center=(40.5, 30.5), **LINEAR)),  # type: ignore
    }


def test_moves_are_pillows() -> None:
    """Up to rounding where an image lies around; its border, half grey, is left out."""
    inside = {name: ours.min(2) == 255 for name, (ours, _) in moves(np.full((60, 80, 3), 255, np.uint8)).items()}
    for name, (ours, theirs) in moves(smooth(2)).items():
        off = np.abs(ours.astype(int) - np.asarray(theirs))[
            cv2.erode(inside[name].astype(np.uint8), np.ones((3, 3))) > 0
        ]
        assert off.max() <= 2 and off.size > 6000, name
        grey = (ours == FILL).all(2)
        assert grey.any() and not (grey & inside[name]).all(), name
    for name in ("translate x", "translate y"):
        ours, theirs = moves(smooth(2))[name]
        assert np.array_equal(ours, theirs)


def test_levels() -> None:
    """BLIP's at magnitude 5: brightness and sharpness as they were, slopes of 0.15, 5 pixels, 15 degrees."""
    image = smooth(3)
    for name in ("identity", "brightness", "sharpness"):
        assert np.array_equal(OPERATIONS[name](image, 0.5, 1.0), image)
    wanted = {
        "shear x": randaugment.shear(image, -0.15, 0),
        "translate y": randaugment.translate(image, 0, -5),
        "rotate": randaugment.rotate(image, -15),
    }
    assert all(np.array_equal(OPERATIONS[name](image, 0.5, -1.0), found) for name, found in wanted.items())
    assert np.array_equal(OPERATIONS["brightness"](image, 0.7, 1.0), randaugment.brightness(image, 1.36))


def test_how_often_each_operation_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: Counter[tuple[str, float]] = Counter()

    def counted(name: str) -> Callable[[np.ndarray, float, float], np.ndarray]:
        def operation(pixels: np.ndarray, level: float, sign: float) -> np.ndarray:
            assert level == 0.7
            seen[name, sign] += 1
            return pixels

        return operation

    monkeypatch.setattr(randaugment, "OPERATIONS", {name: counted(name) for name in OPERATIONS})
    for number in range(4000):
        randaugment.randaugment(noise(0), 2, 7, rng_for(number))
    assert len(seen) == 20  # 10 operations, each both ways
    shares = np.array(list(seen.values())) / 4000  # 2 drawn, half of them left out, a tenth each, half of them negative
    assert np.abs(shares - 0.05).max() < 0.015


def test_a_pure_function_of_its_generator() -> None:
    image = decode(picture(4))
    before = image.copy()
    made = [randaugment.randaugment(image, 2, 7, rng_for(key)).tobytes() for key in (1, 1, *range(2, 40))]
    assert made[0] == made[1] and len(set(made)) > 10
    assert np.array_equal(image, before)


def test_training_images_alone(make: Callable[..., Dataset]) -> None:
    """The same images for any split of a step; what the tokenizer sees stays as it was cut."""
    dataset = make("a", 16)
    views = {"image": {"maker": "image"}, "image_for_codes": {"maker": "image_for_codes", "size": 16}}

    def images(name: str, given: tuple[int, float] | None, **split: int) -> np.ndarray:
        options = type("Options", (), {**vars(OPTIONS), "randaugment": given})()
        parts = [
            part.tensors[name]
            for rank in range(split.get("world", 1))
            for part in Stream([dataset], views, batch_size=16, image=options, rank=rank, **split).micro_batches(0)
        ]
        return np.concatenate(parts)

    plain, changed = images("image", None), images("image", (2, 5))
    differ = (plain != changed).any((1, 2, 3)).mean()
    assert 0.3 < differ < 0.95
    assert np.array_equal(changed, images("image", (2, 5), world=2, micro_batch=4))
    assert np.array_equal(images("image_for_codes", None), images("image_for_codes", (2, 5)))
