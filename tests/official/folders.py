"""Data sets in class folders, in their official layout: a few images each. Every function gives the label of each
key."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.io import savemat

from tests.official.pictures import save

Truth = dict[str, int]
WNIDS = ["n01440764", "n01443537", "n01484850"]  # sorted; the ids of the devkit are in another order
IDS = {"n01484850": 1, "n01440764": 2, "n01443537": 3}
WORDS = {
    "n01440764": "tench, Tinca tinca",
    "n01443537": "goldfish, Carassius auratus",
    "n01484850": "great white shark",
}


def imagenet(root: Path, flat: bool = True) -> Truth:
    truth = {}
    for label, wnid in enumerate(WNIDS):
        for number in (7, 10, 293):
            truth[f"train/{wnid}/{wnid}_{number}.JPEG"] = label
    labels = [2, 0, 1, 2]
    for number, label in enumerate(labels, 1):
        name = f"ILSVRC2012_val_{number:08d}.JPEG"
        truth[f"val/{name}" if flat else f"val/{WNIDS[label]}/{name}"] = label
    for key, label in truth.items():
        save(root / key, label)
    if flat:
        _devkit(root / "ILSVRC2012_devkit_t12/data", [IDS[WNIDS[label]] for label in labels])
    return truth


def _devkit(folder: Path, ids: list[int]) -> None:
    """The classes, and an inner node of the tree behind them."""
    folder.mkdir(parents=True)
    kinds = {"ILSVRC2012_ID": "O", "WNID": "O", "words": "O", "gloss": "O", "num_children": "O", "children": "O"}
    more = {"wordnet_height": "O", "num_train_images": "O"}
    leaves = [(IDS[wnid], wnid, WORDS[wnid], "", 0, [], 0, 3) for wnid in sorted(WNIDS, key=IDS.__getitem__)]
    inner = (1001, "n00001740", "entity", "", 2, [1, 2], 19, 0)
    rows = np.array([*leaves, inner], list((kinds | more).items()))[:, None]
    savemat(folder / "meta.mat", {"synsets": rows})
    (folder / "ILSVRC2012_validation_ground_truth.txt").write_text("".join(f"{one}\n" for one in ids))


def caltech101(root: Path) -> Truth:
    """Classes 0, 2, 5 and 101 of 102."""
    sizes = {"BACKGROUND_Google": 4, "Faces_easy": 34, "accordion": 5, "yin_yang": 3}
    labels = dict(zip(sizes, (0, 2, 5, 101), strict=True))
    truth = {f"{name}/image_{n:04d}.jpg": labels[name] for name, size in sizes.items() for n in range(1, size + 1)}
    for key, label in truth.items():
        save(root / "101_ObjectCategories" / key, label)
    (root / "101_ObjectCategories/BACKGROUND_Google/tmp").write_bytes(b"no image")
    return truth


def eurosat(root: Path, place: str = "EuroSAT_RGB") -> Truth:
    classes = {"AnnualCrop": 0, "HerbaceousVegetation": 2, "SeaLake": 9}
    truth = {f"{name}/{name}_{n}.jpg": label for name, label in classes.items() for n in range(1, 11)}
    for key, label in truth.items():
        save(root / place / key, label, 64, 64)
    return truth


def rendered_sst2(root: Path) -> Truth:
    truth = {}
    for part, count in (("train", 3), ("valid", 2), ("test", 2)):
        for label, name in enumerate(("negative", "positive")):
            truth |= {f"{part}/{name}/{label * 100 + n}.png": label for n in range(count)}
    for key, label in truth.items():
        save(root / "rendered-sst2" / key, label)
    return truth


def country211(root: Path) -> Truth:
    """Andorra, Germany, Zimbabwe."""
    truth = {}
    for part, count in (("train", 3), ("valid", 1), ("test", 2)):
        for label, code in ((0, "AD"), (49, "DE"), (210, "ZW")):
            truth |= {f"{part}/{code}/{part}{n}.jpg": label for n in range(count)}
    for key, label in truth.items():
        save(root / "country211" / key, label)
    return truth


def gtsrb(root: Path, place: str = "GTSRB/Training") -> Truth:
    """Classes 0 and 42, three tracks of four frames each."""
    truth = {}
    for label in (0, 42):
        code = f"{label:05d}"
        names = [f"{track:05d}_{frame:05d}.ppm" for track in range(3) for frame in range(4)]
        truth |= {f"{code}/{name}": label for name in names}
        for name in names:
            save(root / place / code / name, label)
        _signs(root / place / code / f"GT-{code}.csv", {name: label for name in names})
    tests = {"00000.ppm": 42, "00001.ppm": 0, "00002.ppm": 42}
    for key, label in tests.items():
        save(root / "GTSRB/Final_Test/Images" / key, label)
    _signs(root / "GT-final_test.csv", tests)
    return truth | tests


def _signs(path: Path, labels: Truth) -> None:
    head = "Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId\r\n"
    lines = [f"{name};32;48;5;5;27;43;{label}\r\n" for name, label in labels.items()]
    path.write_bytes((head + "".join(lines)).encode())
