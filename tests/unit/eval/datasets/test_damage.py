"""Files that are missing, cut short or mislabelled: each is named in a message, for each of the 22 vision data sets."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from tests.official import python2
from tests.official.arrays import planes
from tests.official.lists import annotations
from tests.official.pictures import save
from tests.official.scenes import clevr_counts, vehicle
from tests.official.vision import WRITERS
from vltk.errors import Missing, VltkError

NEEDED = {  # a file without which there is no test split
    "imagenet": "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt",
    "food101": "food-101/meta/test.txt",
    "cifar10": "cifar-10-batches-py/test_batch",
    "cifar100": "cifar-100-python/meta",
    "stanford_cars": "cars_test_annos_withlabels.mat",
    "fgvc_aircraft": "fgvc-aircraft-2013b/data/images_variant_test.txt",
    "dtd": "dtd/labels/test1.txt",
    "oxford_pets": "annotations/test.txt",
    "caltech101": "101_ObjectCategories/",
    "flowers102": "setid.mat",
    "mnist": "t10k-labels-idx1-ubyte",
    "stl10": "stl10_binary/test_y.bin",
    "eurosat": "EuroSAT_RGB/",
    "gtsrb": "GT-final_test.csv",
    "kitti_distance": "mapping/train_rand.txt",
    "pcam": "camelyonpatch_level_2_split_test_y.h5",
    "ucf101": "ucfTrainTestlist/testlist01.txt",
    "clevr_counts": "CLEVR_v1.0/scenes/CLEVR_val_scenes.json",
    "fer2013": "fer2013.csv",
    "sun397": "SUN397/ClassName.txt",
    "rendered_sst2": "rendered-sst2/test/",
    "country211": "country211/test/",
}
IMAGES = {  # that lists name
    "food101": "food-101/images/apple_pie/20.jpg",
    "stanford_cars": "cars_test/00003.jpg",
    "fgvc_aircraft": "fgvc-aircraft-2013b/data/images/0034512.jpg",
    "dtd": "dtd/images/zigzagged/zigzagged_0002.jpg",
    "oxford_pets": "images/Bengal_7.jpg",
    "flowers102": "jpg/image_00012.jpg",
    "gtsrb": "GTSRB/Final_Test/Images/00001.ppm",
    "kitti_distance": "training/image_2/000003.png",
    "ucf101": "UCF-101/YoYo/v_YoYo_g01_c02.avi",
    "clevr_counts": "CLEVR_v1.0/images/val/CLEVR_val_000002.png",
    "sun397": "SUN397/a/abbey/sun_ffffffff.jpg",
}
CUT = {  # what ends in its middle, and at which byte
    "imagenet": ("ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt", 4),
    "food101": ("food-101/meta/test.txt", 18),
    "cifar10": ("cifar-10-batches-py/test_batch", 5_000),
    "cifar100": ("cifar-100-python/test", 2_000),
    "stanford_cars": ("cars_test_annos_withlabels.mat", 1_000),
    "fgvc_aircraft": ("fgvc-aircraft-2013b/data/images_variant_test.txt", 23),
    "dtd": ("dtd/labels/test1.txt", 30),
    "oxford_pets": ("annotations/test.txt", 16),
    "caltech101": ("101_ObjectCategories/yin_yang/image_0002.jpg", 0),
    "flowers102": ("imagelabels.mat", 150),
    "mnist": ("t10k-images-idx3-ubyte", 1_000),
    "stl10": ("stl10_binary/test_X.bin", 50_000),
    "eurosat": ("EuroSAT_RGB/SeaLake/SeaLake_3.jpg", 0),
    "gtsrb": ("GT-final_test.csv", 75),
    "kitti_distance": ("training/label_2/000000.txt", 150),
    "pcam": ("camelyonpatch_level_2_split_test_x.h5", 20_000),
    "ucf101": ("UCF-101/YoYo/v_YoYo_g01_c02.avi", 300),
    "clevr_counts": ("CLEVR_v1.0/scenes/CLEVR_val_scenes.json", 1_000),
    "fer2013": ("fer2013.csv", 80_000),
    "sun397": ("Testing_01.txt", 40),
    "rendered_sst2": ("rendered-sst2/test/negative/1.png", 0),
    "country211": ("country211/test/DE/test1.jpg", 0),
}


def read_all(made: Any, **options: Any) -> None:
    """Everything that there is."""
    loader = made.loader(**options)
    for name in ("trainval", "test"):
        split = loader.split(name)
        for index in range(len(split)):
            split.read(index)


def remove(root: Path, path: str) -> None:
    for one in [root / path] if not path.endswith("/") else [p for p in (root / path).rglob("*") if p.is_file()]:
        one.unlink()


@pytest.mark.parametrize("name", list(WRITERS))
def test_a_missing_file_is_named(name: str, own: Callable) -> None:
    made = own(name)
    remove(made.root, NEEDED[name])
    with pytest.raises(Missing) as caught:
        read_all(made)
    assert NEEDED[name] in str(caught.value) and caught.value.exit_code == 3


@pytest.mark.parametrize("name", list(IMAGES))
def test_a_missing_image_is_named_before_any_is_read(name: str, own: Callable) -> None:
    made = own(name)
    (made.root / IMAGES[name]).unlink()
    with pytest.raises(Missing, match=r"names \d+ files, and 1 of them are absent") as caught:
        made.loader().split("test")
    assert IMAGES[name] in str(caught.value).replace("HandStand", "Handstand")


@pytest.mark.parametrize("name", list(WRITERS))
def test_a_file_that_is_cut_short_is_named(name: str, own: Callable) -> None:
    made = own(name)
    path, size = CUT[name]
    data = (made.root / path).read_bytes()
    assert size < len(data)
    (made.root / path).write_bytes(data[:size])
    with pytest.raises(VltkError) as caught:
        read_all(made)
    assert path in str(caught.value)


def batch(path: Path, key: bytes, labels: list[Any]) -> None:
    path.write_bytes(python2.dumps({key: labels, b"data": planes([0] * len(labels))}))


def pcam_labels(path: Path) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        file["y"] = np.array([1, 2, 0], np.uint8).reshape(-1, 1, 1, 1)


def line(path: str, old: str, new: str) -> Callable[[Path], Any]:
    def change(root: Path) -> None:
        whole = (root / path).read_text()
        assert old in whole
        (root / path).write_text(whole.replace(old, new, 1))

    return change


MISLABELLED: list[tuple[str, Callable[[Path], Any], str]] = [
    ("imagenet", lambda root: save(root / "train/n99999999/n99999999_1.JPEG", 0), "'n99999999'.*none of the 3"),
    ("imagenet", line(NEEDED["imagenet"], "2\n", "1001\n"), r"label of val/ILSVRC2012_val_0000000\d.JPEG in .*truth"),
    ("food101", line("food-101/meta/test.txt", "baklava/20", "sushi/20"), "test.txt: sushi/20 is of 'sushi'"),
    ("cifar10", lambda root: batch(root / NEEDED["cifar10"], b"labels", [3, 10]), "00001 in .*test_batch is 10 "),
    ("cifar10", lambda root: batch(root / NEEDED["cifar10"], b"labels", ["cat"]), "test_batch has labels that are no"),
    ("cifar100", lambda root: batch(root / "cifar-100-python/test", b"fine_labels", [100]), "is 100 .*are 100 classes"),
    (
        "stanford_cars",
        lambda root: savemat(root / NEEDED["stanford_cars"], {"annotations": annotations({"00001.jpg": 3})}),
        r"cars_test/00001.jpg in cars_test_annos_withlabels.mat is 3",
    ),
    (
        "stanford_cars",
        lambda root: savemat(root / NEEDED["stanford_cars"], {"annotations": annotations({"00001.jpg": -1})}),
        r"is -1 \(counted from 0\)",
    ),
    (
        "fgvc_aircraft",
        line(NEEDED["fgvc_aircraft"], "F/A-18", "F-16A/B"),
        "images_variant_test.txt: 003451. is of 'F-16A/B'",
    ),
    ("dtd", line("dtd/labels/test1.txt", "banded/", "bandaged/"), "test1.txt: bandaged.*none of the 47"),
    ("oxford_pets", line("annotations/test.txt", "yorkshire_terrier_6 37", "yorkshire_terrier_6 38"), "is 37 .*37 cl"),
    ("oxford_pets", line("annotations/test.txt", "Bengal_6 6", "Bengal_6 7"), "Bengal_6 is of class 7.*Birman"),
    ("oxford_pets", line("annotations/test.txt", "Bengal_6 6", "Bengal_6 x"), "test.txt: Bengal_6 has 'x'"),
    ("caltech101", lambda root: save(root / "101_ObjectCategories/zebra/image_0001.jpg", 0), "'zebra'.*102 classes"),
    ("flowers102", lambda root: savemat(root / "imagelabels.mat", {"labels": np.full((1, 12), 103)}), "is 102 .*102"),
    ("flowers102", lambda root: savemat(root / "imagelabels.mat", {"labels": np.ones((1, 9))}), "labels for 9"),
    (
        "mnist",
        lambda root: (root / NEEDED["mnist"]).write_bytes(struct.pack(">2I", 2049, 3) + bytes([1, 10, 2])),
        "t10k/00001 in t10k-labels-idx1-ubyte is 10 .*10 classes",
    ),
    (
        "mnist",
        lambda root: (root / NEEDED["mnist"]).write_bytes(struct.pack(">2I", 2049, 2) + bytes([1, 1])),
        "3 images, t10k-labels-idx1-ubyte 2 labels",
    ),
    (
        "stl10",
        lambda root: (root / NEEDED["stl10"]).write_bytes(bytes([1, 0, 2, 3])),
        "test/0001 in .*test_y.bin is -1",
    ),
    ("eurosat", lambda root: save(root / "EuroSAT_RGB/Desert/Desert_1.jpg", 0), "EuroSAT_RGB: .* is of 'Desert'"),
    ("gtsrb", line("GT-final_test.csv", ";42", ";43"), "is 43 .*43"),
    ("gtsrb", line("GTSRB/Training/00042/GT-00042.csv", ";42", ";41"), "GT-00042.csv: .*of class 41.*class 42"),
    (
        "kitti_distance",
        lambda root: (root / "training/label_2/000001.txt").write_text(vehicle("Car", 1.0).replace("1.00 -", "far -")),
        "000001.txt:1: 'far'",
    ),
    ("pcam", lambda root: pcam_labels(root / NEEDED["pcam"]), "test/000001 in .*test_y.h5 is 2 .*2 classes"),
    (
        "ucf101",
        line("ucfTrainTestlist/trainlist01.txt", "c01.avi 3", "c01.avi 2"),
        "trainlist01.txt: YoYo/.*of class 2",
    ),
    ("ucf101", line("ucfTrainTestlist/testlist01.txt", "YoYo/", "Yoga/"), "testlist01.txt: Yoga/.*none of the 3"),
    ("clevr_counts", lambda root: clevr_counts(fresh(root), (3, 11)), "CLEVR_train_000001.png in .*json is 8 .*8 cl"),
    ("clevr_counts", lambda root: clevr_counts(fresh(root), (2, 5)), "CLEVR_train_000000.png in .*json is -1 "),
    ("fer2013", line("fer2013.csv", "\n6,", "\n7,"), "Training/00001 in fer2013.csv is 7 .*7 classes"),
    (
        "fer2013",
        line("fer2013.csv", "\n6,250 250", "\n6,256 250"),
        "fer2013.csv, line 3: 2304 pixels where 2304 of 0 to",
    ),
    ("sun397", line("Testing_01.txt", "/a/abbey/", "/a/zoo/"), "Testing_01.txt: /a/zoo/.*none of the 3 classes"),
    ("rendered_sst2", lambda root: save(root / "rendered-sst2/test/neutral/1.png", 0), "neutral/1.png is of 'neutral'"),
    ("country211", lambda root: save(root / "country211/test/XX/1.jpg", 0), "country211/test: XX/1.jpg.*211 classes"),
]


def fresh(root: Path) -> Path:
    for path in (root / "CLEVR_v1.0").rglob("*.*"):
        path.unlink()
    (root / "CLEVR_v1.0/images/test").rmdir()
    return root


@pytest.mark.parametrize(
    ("name", "change", "message"), MISLABELLED, ids=lambda value: "" if callable(value) else value[:30]
)
def test_labels_out_of_range_name_sample_and_file(name: str, change: Callable, message: str, own: Callable) -> None:
    made = own(name)
    change(made.root)
    with pytest.raises(VltkError, match=message):
        read_all(made)


def test_every_data_set_is_mislabelled_once() -> None:
    assert {name for name, _, _ in MISLABELLED} == set(WRITERS) == set(NEEDED) == set(CUT)


def test_a_key_twice_is_refused(own: Callable) -> None:
    made = own("food101")
    listed = made.root / "food-101/meta/test.txt"
    listed.write_text(listed.read_text() + "baklava/21\n")
    with pytest.raises(VltkError, match=r"food101 test: baklava/21 is there 2 times in food-101/meta/test.txt"):
        made.loader().split("test")


def test_a_split_of_nothing_is_refused(own: Callable) -> None:
    """One digit of each class: none can be held out."""
    made = own("mnist")
    (made.root / "train-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 2049, 8) + bytes(range(8)))
    assert len(made.loader().split("train")) == 8
    with pytest.raises(VltkError, match=r"mnist validation: no samples in train-labels-idx1-ubyte"):
        made.loader().split("validation")
