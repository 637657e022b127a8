"""Small real subsets in (nearly) official layouts: read as they lie, and refused without `nonstandard`."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vltk import parts
from vltk.data.image import decode
from vltk.errors import VltkError
from vltk.eval.datasets._files import Files

SUBSETS: dict[str, tuple[str, str, dict[str, tuple[int, int]]]] = {  # folder, root in it, samples and classes of splits
    "cifar10": ("cifar10", "", {"trainval": (5000, 10), "test": (1000, 10)}),
    "mnist": ("mnist", "", {"trainval": (20_000, 10), "test": (4000, 10)}),
    "gtsrb": ("gtsrb", "", {"trainval": (688, 43), "test": (172, 43)}),
    "fer2013": ("fer2013", "", {"validation": (656, 7)}),
    "dtd": ("dtd", "", {"train": (240, 10), "validation": (80, 10), "test": (80, 10)}),
    "oxford_pets": ("pets", "oxford-iiit-pet", {"trainval": (240, 3), "test": (120, 3)}),
}


@pytest.fixture(scope="module")
def real() -> Path:
    place = os.environ.get("VLTK_TEST_DATA")
    if not place:
        pytest.skip("VLTK_TEST_DATA does not say where the small real subsets are")
    return Path(place)


def unpacked(folder: Path, into: Path) -> Path:
    """The folder itself, or what its tars hold."""
    tars = sorted(folder.glob("*.tar"))
    for path in tars:
        with tarfile.open(path) as tar:
            tar.extractall(into, filter="data")
    return into if tars else folder


@pytest.mark.parametrize("name", list(SUBSETS))
def test_a_real_subset(name: str, real: Path, tmp_path: Path) -> None:
    folder, inside, sizes = SUBSETS[name]
    files = Files(unpacked(real / folder, tmp_path) / inside)

    def loader(nonstandard: bool) -> Any:
        return parts.choose("eval/datasets", name, nonstandard=nonstandard).build(files=files)

    for part, (samples, classes) in sizes.items():
        split = loader(True).split(part)
        assert (len(split), len(np.unique(split.labels))) == (samples, classes)
        for index in (0, samples // 2, samples - 1):
            image = split.read(index).image
            pixels = decode(image) if isinstance(image, bytes) else image
            assert pixels.shape[2] == 3 and min(pixels.shape[:2]) >= 15 and np.ptp(pixels) > 10
        with pytest.raises(VltkError):
            loader(False).split(part)
