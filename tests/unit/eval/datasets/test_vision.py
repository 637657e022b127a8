"""What holds for each of the 22 vision data sets, read from tiny ones in their official layout."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO

import numpy as np
import pytest

from tests.official.pictures import shows
from tests.official.vision import WRITERS
from vltk import parts
from vltk.data.image import decode
from vltk.errors import VltkError
from vltk.eval.datasets._files import Files
from vltk.eval.datasets._rules import ids_sha256

SIZES = {  # train, validation, test
    "imagenet": (6, 3, 4),
    "food101": (9, 3, 6),
    "cifar10": (15, 5, 4),
    "cifar100": (3, 3, 3),
    "stanford_cars": (9, 3, 6),
    "fgvc_aircraft": (6, 6, 6),
    "dtd": (6, 6, 6),
    "oxford_pets": (12, 3, 9),
    "caltech101": (30, 9, 7),
    "flowers102": (3, 3, 6),
    "mnist": (4, 4, 3),
    "stl10": (3, 3, 4),
    "eurosat": (12, 6, 12),
    "gtsrb": (16, 8, 3),
    "kitti_distance": (20, 2, 2),
    "pcam": (4, 2, 3),
    "ucf101": (11, 4, 6),
    "clevr_counts": (3, 3, 3),
    "fer2013": (5, 3, 3),
    "sun397": (12, 3, 9),
    "rendered_sst2": (6, 4, 4),
    "country211": (9, 3, 6),
}
OURS = {"caltech101", "eurosat", "kitti_distance"}  # whose test is chosen by a rule
each = pytest.mark.parametrize("name", list(WRITERS))


def pixels(image: Any) -> np.ndarray:
    return decode(image) if isinstance(image, bytes) else image


def test_there_are_22() -> None:
    assert len(WRITERS) == len(SIZES) == 22 and set(WRITERS) <= set(parts.names("eval/datasets"))


@each
def test_every_image_is_read_with_its_label(name: str, written: Callable) -> None:
    made = written(name)
    loader = made.loader()
    assert list(loader.splits) == ["train", "validation", "trainval", "test"]
    for part, size in zip(("train", "validation", "test"), SIZES[name], strict=True):
        split = loader.split(part)
        assert len(split) == len(split.keys) == len(split.labels) == size and split.labels.dtype == np.int64
        for index, key in enumerate(split.keys):
            item = split.read(index)
            assert (item.key, item.label) == (key, split.labels[index]) == (key, made.truth[key])
            assert shows(pixels(item.image), item.label), key
            assert 0 <= item.label < len(loader.classes)


@each
def test_splits_share_nothing_and_join(name: str, written: Callable) -> None:
    splits = {part: written(name).loader().split(part) for part in ("train", "validation", "trainval", "test")}
    train, validation, trainval, test = (set(split.keys) for split in splits.values())
    assert not train & validation and train | validation == trainval and not trainval & test
    assert [len(split) for split in splits.values()] == [len(train), len(validation), len(trainval), len(test)]
    assert all(split.sha256 == ids_sha256(split.keys) for split in splits.values())
    assert len({split.sha256 for split in splits.values()}) == 4
    assert bool(splits["test"].rule) == (name in OURS)
    again = written(name).loader()
    assert all(again.split(part).sha256 == split.sha256 for part, split in splits.items())


@each
def test_a_held_out_validation_says_so(name: str, written: Callable) -> None:
    loader = written(name).loader()
    held = {loader.split(part).rule or "" for part in ("train", "validation")}
    official = "validation" in loader.counts
    assert official != any("held out" in rule for rule in held)
    assert loader.split("trainval").rule is None or name in OURS


@each
def test_another_count_is_refused(name: str, written: Callable) -> None:
    with pytest.raises(VltkError, match=r"[\d,]+ (samples|classes) in .* but [\d,]+ officially") as caught:
        written(name).loader(nonstandard=False).split("test")
    assert "--allow-nonstandard" in str(caught.value) and str(caught.value).startswith(name)


@each
def test_official_counts_are_in_the_docstring(name: str) -> None:
    held = importlib.import_module(f"vltk.eval.datasets.{name}")
    counts = held.COUNTS
    assert set(counts) in ({"classes", "trainval", "test"}, {"classes", "train", "validation", "test"})
    assert "Official counts" in held.__doc__
    assert [n for key, n in counts.items() if key != "classes" and f"{n:,}" not in held.__doc__] == []


@each
def test_an_unknown_split_says_which_exist(name: str, written: Callable) -> None:
    with pytest.raises(VltkError, match=r"no split 'vaildation'; did you mean 'validation'\?.*test, train, trainval"):
        written(name).loader().split("vaildation")


@each
def test_many_threads_read_the_same(name: str, written: Callable) -> None:
    """The first reading of a split too."""
    alone = written(name).loader()
    wanted = [pixels(alone.split("test").read(index).image) for index in range(SIZES[name][2])]
    shared = written(name).loader()

    def read(turn: int) -> np.ndarray:
        return pixels(shared.split("test").read(turn % len(wanted)).image)

    with ThreadPoolExecutor(8) as pool:
        for turn, found in enumerate(pool.map(read, range(3 * len(wanted)))):
            assert np.array_equal(found, wanted[turn % len(wanted)])


class Watched(Files):
    """Keeps what was opened."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.opened: list[str] = []

    def open(self, path: str) -> BinaryIO:
        self.opened.append(path)
        return super().open(path)


@each
def test_labels_need_no_images(name: str, written: Callable) -> None:
    """The constructor opens lists at most; a split opens no image file, and no video."""
    files = Watched(written(name).root)
    loader = written(name).loader(files)
    assert sum((files.root / path).stat().st_size for path in files.opened) < 5_000
    loader.split("trainval"), loader.split("test")
    images = (".jpg", ".jpeg", ".png", ".ppm", ".avi")
    assert [path for path in files.opened if path.lower().endswith(images)] == []


def test_options_are_checked() -> None:
    wrong = {"dtd": "partition", "ucf101": "partition", "stl10": "fold", "eurosat": "partition", "gtsrb": "training"}
    for name, option in wrong.items():
        with pytest.raises(VltkError, match=option):
            parts.choose("eval/datasets", name, **{option: 11})
