"""Crops of two sizes: shapes, determinism, how often each change comes, and what each of them does."""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from tests.unit.data.samples import OPTIONS, picture
from vltk.data.dataset import Dataset
from vltk.data.draft import rng_for
from vltk.data.enlarged import warn_of_enlarged
from vltk.data.image import decode
from vltk.data.stream import Stream
from vltk.data.views import crops
from vltk.data.views.crops import Crops

DRAFT: Any = SimpleNamespace(pixels=decode(picture(3, 60, 80)))


def test_two_large_and_some_small() -> None:
    views = Crops(size=32, local_crops=5, local_size=16)(DRAFT, partial(rng_for, 0))
    assert {name: view.shape for name, view in views.items()} == {
        "crops": (2, 3, 32, 32),
        "local_crops": (5, 3, 16, 16),
    }
    assert all(view.dtype == np.uint8 for view in views.values())
    assert set(Crops(size=32, local_crops=0)(DRAFT, partial(rng_for, 0))) == {"crops"}


def test_a_pure_function_of_its_generator() -> None:
    maker = Crops(size=32, local_crops=3, local_size=16)
    before = DRAFT.pixels.copy()
    first, again, other = (maker(DRAFT, partial(rng_for, key)) for key in (1, 1, 2))
    for name in first:
        assert np.array_equal(first[name], again[name]) and not np.array_equal(first[name], other[name])
    assert len({crop.tobytes() for crop in first["local_crops"]}) == 3
    assert np.array_equal(DRAFT.pixels, before)  # shared with other views


def test_how_often_each_change_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blurs and jitters counted where they are made; grey and solarised crops by their pixels."""
    seen = {"jitter": 0, "blur": 0}

    def counting(kind: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            seen[kind] += 1
            return function(*args, **kwargs)

        return counted

    monkeypatch.setattr(crops, "_jittered", counting("jitter", lambda crop, rng: crop))
    monkeypatch.setattr(cv2, "GaussianBlur", counting("blur", lambda crop, *args, **kwargs: crop))
    bright: Any = SimpleNamespace(pixels=np.full((40, 40, 3), (250, 250, 200), np.uint8))
    number, maker = 1000, Crops(size=8, local_crops=2, local_size=8)
    made = [maker(bright, partial(rng_for, "often", n)) for n in range(number)]
    assert seen["jitter"] / (4 * number) == pytest.approx(0.8, abs=0.03)
    assert seen["blur"] / number == pytest.approx(1.0 + 0.1 + 2 * 0.5, abs=0.06)
    pixels = np.stack([views["crops"] for views in made])[..., 4, 4].astype(int)  # (number, 2, 3)
    assert (pixels[..., 0] == pixels[..., 2]).mean() == pytest.approx(0.2, abs=0.03)  # grey
    assert (pixels[:, 1, 0] < 100).mean() == pytest.approx(0.2, abs=0.04)  # solarised
    assert (pixels[:, 0, 0] > 200).all()


def test_scales_and_mirrors() -> None:
    """The crop's share of the area, read off a ramp from left to right that runs backwards in half of them."""
    ramp = np.tile(np.linspace(0, 255, 128, dtype=np.uint8)[None, :, None], (128, 1, 3))
    rng = rng_for("scale")
    for cut, low, high in ((Crops().large, 0.4, 1.0), (Crops().small, 0.05, 0.4)):
        boxes = [crops.crop_box(128, 128, cut, rng) for _ in range(400)]
        shares = [box.height * box.width / 128**2 for box in boxes]
        assert low * 0.95 < min(shares) and max(shares) <= high * 1.05 and np.mean(shares) < high - 0.1
        assert 0.4 < np.mean([box.flip for box in boxes]) < 0.6
    box = crops.crop_box(128, 128, Crops().large, rng_for(0))
    rows = crops.take(ramp, box, 32)[16, :, 0].astype(int)
    assert (rows[0] > rows[-1]) == box.flip


def test_each_change_is_torchvisions_formula() -> None:
    """One pixel at a time, in floating point."""
    image = np.random.default_rng(0).integers(0, 256, (6, 7, 3), dtype=np.uint8)
    exact = image.astype(float)
    grey = exact @ [0.299, 0.587, 0.114]
    wanted = {
        "brightness": (crops._scaled(image, 1.3, 0.0), 1.3 * exact),
        "contrast": (crops._scaled(image, 0.7, grey.mean()), 0.7 * exact + 0.3 * grey.mean()),
        "saturation": (crops._saturated(image, 1.2), 1.2 * exact - 0.2 * grey[..., None]),
    }
    for name, (ours, formula) in wanted.items():
        assert np.abs(ours - np.clip(formula, 0, 255)).max() <= 1, name
    turned = crops._turned(image, 26 / 256).astype(float)
    hsv = [colorsys.rgb_to_hsv(*pixel / 255) for pixel in exact.reshape(-1, 3)]
    formula = 255 * np.array([colorsys.hsv_to_rgb((h + 26 / 256) % 1, s, v) for h, s, v in hsv]).reshape(exact.shape)
    assert np.abs(turned - formula).max() < 8 and np.abs(turned - formula).mean() < 2  # 256 hues
    assert np.array_equal(cv2.LUT(image, crops._SOLARISED), np.asarray(ImageOps.solarize(Image.fromarray(image))))


def stream(dataset: Dataset, size: int) -> Stream:
    return Stream([dataset], {"crops": {"maker": "crops", "size": size, "local_size": 8}}, batch_size=4, image=OPTIONS)


def test_batches_and_images_that_are_only_enlarged(home: Any, capsys: pytest.CaptureFixture[str]) -> None:
    from vltk.data.dataset import open_dataset

    dataset = open_dataset("shapes/images")
    small = stream(dataset, 16)
    assert small.micro_batches(0)[0].tensors["local_crops"].shape == (4, 8, 3, 8, 8)
    warn_of_enlarged(small)
    assert capsys.readouterr().err == ""
    warn_of_enlarged(stream(dataset, 640))
    assert (
        "stream stream: 16 of the first 16 images are smaller than its crops of 640 x 640 pixels"
        in capsys.readouterr().err
    )
