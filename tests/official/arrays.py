"""Data sets whose images are rows of arrays, byte for byte as their official files: a few images each. Every function
gives the label of each key."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tests.official import python2
from tests.official.pictures import grey, picture

Truth = dict[str, int]


def cifar10(root: Path) -> Truth:
    folder, truth = root / "cifar-10-batches-py", {}
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    folder.mkdir(parents=True)
    meta = {b"num_cases_per_batch": 4, b"label_names": [name.encode() for name in names], b"num_vis": 3072}
    (folder / "batches.meta").write_bytes(python2.dumps(meta))
    for number, batch in enumerate([*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]):
        labels = [0, 3, 9, 3 if number % 2 else 0]
        held = {b"batch_label": batch.encode(), b"labels": labels, b"data": planes(labels)}
        held[b"filenames"] = [b"%s_%d.png" % (names[label].encode(), row) for row, label in enumerate(labels)]
        (folder / batch).write_bytes(python2.dumps(held))
        truth |= {f"{batch}/{row:05d}": label for row, label in enumerate(labels)}
    return truth


def cifar100(root: Path) -> Truth:
    folder, truth = root / "cifar-100-python", {}
    folder.mkdir(parents=True)
    fine = [b"apple", b"aquarium_fish", *(b"class %d" % n for n in range(2, 100))]
    meta = {b"fine_label_names": fine, b"coarse_label_names": [b"coarse %d" % n for n in range(20)]}
    (folder / "meta").write_bytes(python2.dumps(meta))
    for part, labels in (("train", [0, 1, 99, 0, 1, 99]), ("test", [99, 1, 0])):
        held = {b"filenames": [b"%d.png" % n for n in range(len(labels))], b"batch_label": part.encode()}
        held |= {b"fine_labels": labels, b"coarse_labels": [label // 5 for label in labels], b"data": planes(labels)}
        (folder / part).write_bytes(python2.dumps(held))
        truth |= {f"{part}/{row:05d}": label for row, label in enumerate(labels)}
    return truth


def planes(labels: Sequence[int]) -> np.ndarray:
    """(N, 3072): the red plane row by row, the green one, the blue one."""
    return np.stack([picture(label, 32, 32).transpose(2, 0, 1).ravel() for label in labels])


def mnist(root: Path, packed: bool = False) -> Truth:
    truth = {}
    for part, labels in (("train", [5, 0, 4, 1, 5, 0, 4, 1]), ("t10k", [7, 2, 1])):
        head = struct.pack(">4I", 2051, len(labels), 28, 28)
        images = np.stack([grey(label, 28) for label in labels]).tobytes()
        _put(root / f"{part}-images-idx3-ubyte", head + images, packed)
        _put(root / f"{part}-labels-idx1-ubyte", struct.pack(">2I", 2049, len(labels)) + bytes(labels), packed)
        truth |= {f"{part}/{row:05d}": label for row, label in enumerate(labels)}
    return truth


def _put(path: Path, data: bytes, packed: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if packed:
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(data))
    else:
        path.write_bytes(data)


def stl10(root: Path) -> Truth:
    folder, truth = root / "stl10_binary", {}
    folder.mkdir(parents=True)
    for part, labels in (("train", [1, 0, 9, 1, 0, 9]), ("test", [9, 0, 1, 9])):
        pixels = np.stack([picture(label, 96, 96) for label in labels])  # (N, H, W, 3)
        (folder / f"{part}_X.bin").write_bytes(pixels.transpose(0, 3, 2, 1).tobytes())  # (N, 3, W, H): columns first
        (folder / f"{part}_y.bin").write_bytes(bytes(label + 1 for label in labels))
        truth |= {f"{part}/{row:04d}": label for row, label in enumerate(labels)}
    (folder / "class_names.txt").write_text("airplane\nbird\ncar\ncat\ndeer\ndog\nhorse\nmonkey\nship\ntruck\n")
    (folder / "fold_indices.txt").write_text("0 1 3 4 \n" + "5 4 3 1 \n" * 9)
    return truth


def pcam(root: Path) -> Truth:
    import h5py

    truth = {}
    root.mkdir(parents=True, exist_ok=True)
    for part, labels in (("train", [0, 1, 1, 0]), ("valid", [1, 0]), ("test", [1, 1, 0])):
        for what, data in (
            ("x", np.stack([picture(label, 96, 96) for label in labels])),
            ("y", np.array(labels, np.uint8).reshape(-1, 1, 1, 1)),
        ):
            with h5py.File(root / f"camelyonpatch_level_2_split_{part}_{what}.h5", "w") as file:
                file[what] = data
        truth |= {f"{part}/{row:06d}": label for row, label in enumerate(labels)}
    return truth


def fer2013(root: Path, name: str = "fer2013.csv") -> Truth:
    """`icml_face_data.csv` has its columns in another order, and spaces in its header."""
    usages = ["Training"] * 5 + ["PublicTest"] * 3 + ["PrivateTest"] * 3
    labels = [0, 6, 3, 0, 6, 3, 0, 6, 6, 3, 0]
    columns = ["emotion", "pixels", "Usage"] if name == "fer2013.csv" else ["emotion", " Usage", " pixels"]
    lines = [",".join(columns)]
    for usage, label in zip(usages, labels, strict=True):
        pixels = " ".join(map(str, grey(label, 48).ravel()))
        lines.append(",".join([str(label), *([pixels, usage] if name == "fer2013.csv" else [usage, pixels])]))
    root.mkdir(parents=True, exist_ok=True)
    (root / name).write_text("".join(f"{line}\n" for line in lines))
    return {f"{usage}/{row:05d}": label for row, (usage, label) in enumerate(zip(usages, labels, strict=True))}
