"""Data sets with lists of their images, in their official layout: a few images each. Every function gives the label of
each key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import savemat

from tests.official.pictures import save

Truth = dict[str, int]
PARTS = ("train", "val", "test")


def food101(root: Path) -> Truth:
    classes = {"apple_pie": "Apple pie", "baby_back_ribs": "Baby back ribs", "baklava": "Baklava"}
    train = {f"{name}/{1005649 + n}": label for label, name in enumerate(classes) for n in range(4)}
    test = {f"{name}/{20 + n}": label for label, name in enumerate(classes) for n in range(2)}
    meta = root / "food-101/meta"
    _write(meta / "classes.txt", classes)
    _write(meta / "labels.txt", classes.values())
    _write(meta / "train.txt", train)
    _write(meta / "test.txt", test)
    for key, label in (train | test).items():
        save(root / f"food-101/images/{key}.jpg", label)
    return train | test


def fgvc_aircraft(root: Path) -> Truth:
    variants = ["707-320", "Cessna 172", "F/A-18"]
    data, truth = root / "fgvc-aircraft-2013b/data", {}
    _write(data / "variants.txt", variants)
    for place, part in enumerate(PARTS):
        labels = {f"{34309 + 100 * place + n:07d}": n % 3 for n in range(6)}
        _write(data / f"images_variant_{part}.txt", [f"{key} {variants[label]}" for key, label in labels.items()])
        truth |= labels
    for key, label in truth.items():
        save(data / f"images/{key}.jpg", label)
    return truth


def dtd(root: Path) -> Truth:
    """Two partitions over classes 0, 30 and 46: what is train in the first is test in the second."""
    classes = {"banded": 0, "polka-dotted": 30, "zigzagged": 46}
    truth = {f"{name}/{name}_{n:04d}.jpg": label for name, label in classes.items() for n in range(6)}
    for number, parts in ((1, PARTS), (2, ("test", "val", "train"))):
        for place, part in enumerate(parts):
            keys = [key for key in truth if int(key[-8:-4]) % 3 == place]
            _write(root / f"dtd/labels/{part}{number}.txt", keys)
    for key, label in truth.items():
        save(root / "dtd/images" / key, label)
    return truth


def oxford_pets(root: Path) -> Truth:
    """Classes 1, 6 and 37 of 37."""
    breeds = {"Abyssinian": (1, 1, 1), "Bengal": (6, 1, 2), "yorkshire_terrier": (37, 2, 25)}
    listed = {"trainval": range(1, 6), "test": range(6, 9)}
    for part, numbers in listed.items():
        lines = [f"{name}_{n} {' '.join(map(str, columns))}" for name, columns in breeds.items() for n in numbers]
        _write(root / f"annotations/{part}.txt", lines)
    _write(root / "annotations/list.txt", ["#Image CLASS-ID SPECIES BREED ID"])
    truth = {f"{name}_{n}": columns[0] - 1 for name, columns in breeds.items() for n in range(1, 9)}
    for key, label in truth.items():
        save(root / f"images/{key}.jpg", label)
    (root / "images/Abyssinian_100.mat").write_bytes(b"MATLAB")
    return truth


def stanford_cars(root: Path) -> Truth:
    names = ["AM General Hummer SUV 2000", "Acura RL Sedan 2012", "Volvo 240 Sedan 1993"]
    (root / "devkit").mkdir(parents=True)
    savemat(root / "devkit/cars_meta.mat", {"class_names": np.array(names, object)[None]})
    train = {f"{n:05d}.jpg": n % 3 for n in range(1, 13)}
    test = {f"{n:05d}.jpg": (n + 1) % 3 for n in range(1, 7)}
    savemat(root / "devkit/cars_train_annos.mat", {"annotations": annotations(train)})
    savemat(root / "cars_test_annos_withlabels.mat", {"annotations": annotations(test)})
    truth = {f"cars_train/{name}": label for name, label in train.items()}
    truth |= {f"cars_test/{name}": label for name, label in test.items()}
    for key, label in truth.items():
        save(root / key, label)
    return truth


def annotations(labels: Truth) -> Any:
    """(1, N) structures of a box, the class counted from 1, and the file."""
    corners = [(f"bbox_{corner}", "O") for corner in ("x1", "y1", "x2", "y2")]
    rows = [(1, 1, 30, 40, label + 1, name) for name, label in labels.items()]
    return np.array(rows, [*corners, ("class", "O"), ("fname", "O")])[None]


def flowers102(root: Path) -> Truth:
    """Images 1 to 12 of classes 1, 77 and 102, counted from 1."""
    root.mkdir(parents=True, exist_ok=True)
    labels = np.array([(1, 77, 102)[n % 3] for n in range(12)])
    savemat(root / "imagelabels.mat", {"labels": labels[None].astype(np.uint8)})
    ids = {"trnid": [5, 1, 9], "valid": [2, 3, 4], "tstid": [12, 6, 7, 8, 10, 11]}
    savemat(root / "setid.mat", {name: np.array([of], np.uint16) for name, of in ids.items()})
    truth = {f"jpg/image_{n:05d}.jpg": int(label) - 1 for n, label in enumerate(labels, 1)}
    for key, label in truth.items():
        save(root / key, label)
    return truth


def sun397(root: Path, lists: bool = True) -> Truth:
    scenes = ["/a/abbey", "/a/apartment_building/outdoor", "/z/zen_garden"]
    truth = {f"{scene}/sun_{letter * 8}.jpg": n for n, scene in enumerate(scenes) for letter in "abcdefgh"}
    _write(root / "SUN397/ClassName.txt", scenes)
    if lists:
        _write(root / "Training_01.txt", [key for key in truth if key[-5] in "abcde"])
        _write(root / "Testing_01.txt", [key for key in truth if key[-5] in "fgh"])
    for key, label in truth.items():
        save(root / f"SUN397{key}", label)
    return truth


def _write(path: Path, lines: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))
