"""KITTI, CLEVR and UCF101, in their official layout: a few images each. Every function gives the label of each key."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from tests.official.pictures import picture, save

Truth = dict[str, int]
DONT_CARE = "DontCare -1 -1 -10 503.89 169.71 590.61 190.13 -1 -1 -1 -1000 -1000 -1000 -10"


def vehicle(kind: str, z: float) -> str:
    """A line of a label file."""
    return f"{kind} 0.00 0 -1.58 587.01 173.33 614.12 200.12 1.65 1.67 3.64 -0.65 1.71 {z:.2f} -1.59"


FRAMES: list[tuple[int, list[str]]] = [  # class, lines
    (0, [vehicle("Car", 30.0), vehicle("Van", 8.0), DONT_CARE]),
    (1, [vehicle("Truck", 8.01), vehicle("Pedestrian", 2.0)]),
    (1, [vehicle("Car", 20.0), vehicle("Cyclist", 1.0)]),
    (2, [vehicle("Van", 20.01)]),
    (3, [vehicle("Pedestrian", 5.0), vehicle("Tram", 4.0), DONT_CARE]),
    (3, []),
]


def kitti_distance(root: Path) -> Truth:
    """24 frames of 12 drives, two a drive, in a shuffled order."""
    truth = {}
    for frame in range(24):
        label, lines = FRAMES[frame % len(FRAMES)]
        truth[f"{frame:06d}"] = label
        save(root / f"training/image_2/{frame:06d}.png", label)
        path = root / f"training/label_2/{frame:06d}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{line}\n" for line in lines))
    order = np.random.RandomState(0).permutation(24)
    mapping = [f"2011_09_26 2011_09_26_drive_{line // 2:04d}_sync {line:010d}\n" for line in range(24)]
    (root / "mapping").mkdir()
    (root / "mapping/train_mapping.txt").write_text("".join(mapping))
    (root / "mapping/train_rand.txt").write_text(",".join(str(line + 1) for line in order))
    return truth


def clevr_counts(root: Path, counts: Sequence[int] = (3, 10, 4, 10, 3, 4)) -> Truth:
    truth = {}
    for part, of_part in (("train", counts), ("val", (10, 3, 4))):
        scenes = []
        for number, count in enumerate(of_part):
            name = f"CLEVR_{part}_{number:06d}.png"
            one = {"color": "gray", "shape": "cube", "size": "small", "material": "rubber"}
            scenes.append({"image_index": number, "image_filename": name, "split": part, "objects": [one] * count})
            truth[name] = count - 3
            save(root / f"CLEVR_v1.0/images/{part}/{name}", count - 3)
        path = root / f"CLEVR_v1.0/scenes/CLEVR_{part}_scenes.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"info": {"split": part, "version": "1.0"}, "scenes": scenes}))
    (root / "CLEVR_v1.0/images/test").mkdir()
    return truth


def ucf101(root: Path, frames: bool = False) -> Truth:
    """Lists of videos do not agree with folders and the list of classes on the case of the second class."""
    classes = ["ApplyEyeMakeup", "HandStandPushups", "YoYo"]
    folders = ["ApplyEyeMakeup", "HandstandPushups", "YoYo"]
    lists = root / "ucfTrainTestlist"
    lists.mkdir(parents=True)
    (lists / "classInd.txt").write_bytes("".join(f"{n} {name}\r\n" for n, name in enumerate(folders, 1)).encode())
    truth, train, test = {}, [], []
    for label, (name, folder) in enumerate(zip(classes, folders, strict=True)):
        for group, clip in ((1, 1), (1, 2), (8, 1), (8, 2), (9, 1), (9, 2), (10, 1)):
            key = f"{name}/v_{name}_g{group:02d}_c{clip:02d}"
            truth[key] = label
            (test if group == 1 else train).append(key)
            if frames:
                save(root / f"UCF-101-midframes/{folder}/{key.split('/')[1]}.jpg", label)
            else:
                video(root / f"UCF-101/{folder}/{key.split('/')[1]}.avi", label)
    (lists / "trainlist01.txt").write_text("".join(f"{key}.avi {truth[key] + 1}\n" for key in train))
    (lists / "testlist01.txt").write_text("".join(f"{key}.avi\n" for key in test))
    return truth


def video(path: Path, label: int, frames: int = 5) -> None:
    """Only the frame in the middle shows the class."""
    path.parent.mkdir(parents=True, exist_ok=True)
    out = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"XVID"), 25, (48, 48))
    assert out.isOpened()
    for number in range(frames):
        shown = picture(label, 48, 48) if number == frames // 2 else np.zeros((48, 48, 3), np.uint8)
        out.write(cv2.cvtColor(shown, cv2.COLOR_RGB2BGR))
    out.release()
