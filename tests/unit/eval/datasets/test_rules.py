"""Rules that choose samples: pure functions of the official ids, pinned by the hash of what they choose."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest

from vltk import parts
from vltk.errors import Missing
from vltk.eval.datasets._rules import held_out, ids_sha256, portions, scaled, shuffled

IDS = [f"{n:03d}" for n in range(100)]
EUROSAT = {
    "AnnualCrop": 3000, "Forest": 3000, "HerbaceousVegetation": 3000, "Highway": 2500, "Industrial": 2500,
    "Pasture": 2000, "PermanentCrop": 2500, "Residential": 3000, "River": 2500, "SeaLake": 3000,
}  # fmt: skip
PINNED = {
    ("eurosat", "clip", "trainval"): "a66150259cb6e43d70673e02566a3b7775633b383cf936739b7103003ad91237",
    ("eurosat", "clip", "test"): "3b683f13f343c8f0f8143725588cf41175dad615ce79b38e7aec258c725349fb",
    ("eurosat", "vtab", "test"): "2035f50cd9582f05931213a2208b2c8aca46f60dbf15a5aa7a9f54734362639d",
    ("kitti_distance", "frames", "test"): "ccfd1dfadabfc4d8a2b6def583a8f8af6fc0d1a29dab12523037786d19ce575f",
    ("clevr_counts", "subset", "trainval"): "a7e76e1ff37e2c6b397eb9b431feaee7885ecd70aa0e24861239a37fc9f4bfcb",
    ("clevr_counts", "subset", "test"): "d043647db698cd26152e2bcc55b29bd3a32222031a673312ea4ed22aaa87d819",
}


class Listed:
    """Files of which only the names exist, but for some of known content."""

    def __init__(self, paths: list[str], content: dict[str, bytes] | None = None) -> None:
        self.content = content or {}
        self.paths = {*paths, *self.content}

    def exists(self, path: str) -> bool:
        return path in self.paths or any(known.startswith(f"{path}/") for known in self.paths)

    def names(self, pattern: str) -> list[str]:
        start, _, end = pattern.partition("*")
        return sorted(path for path in self.paths if path.startswith(start) and path.endswith(end.split("*")[-1]))

    def read(self, path: str) -> bytes:
        return self.content[path]

    def open(self, path: str) -> BinaryIO:
        return io.BytesIO(self.content[path])

    def require(self, *paths: str) -> None:
        if absent := [path for path in paths if not self.exists(path)]:
            raise Missing("absent", [(path, "") for path in absent])


def eurosat() -> Listed:
    return Listed([f"EuroSAT_RGB/{name}/{name}_{n}.jpg" for name, size in EUROSAT.items() for n in range(1, size + 1)])


def kitti() -> Listed:
    images = [f"training/image_2/{n:06d}.png" for n in range(7481)]
    return Listed(images, {f"training/label_2/{n:06d}.txt": b"" for n in range(7481)})


def clevr() -> Listed:
    paths, content = [], {}
    for part, size in (("train", 70_000), ("val", 15_000)):
        names = [f"CLEVR_{part}_{n:06d}.png" for n in range(size)]
        scenes = [{"image_filename": name, "objects": [0] * (3 + n % 8)} for n, name in enumerate(names)]
        paths += [f"CLEVR_v1.0/images/{part}/{name}" for name in names]
        content[f"CLEVR_v1.0/scenes/CLEVR_{part}_scenes.json"] = json.dumps({"info": {}, "scenes": scenes}).encode()
    return Listed(paths, content)


@pytest.fixture(scope="module")
def official() -> dict[str, Any]:
    """Loaders over the names of the real files, at the official counts."""

    def made(name: str, files: Listed, **options: Any) -> Any:
        return parts.choose("eval/datasets", name, **options).build(files=files)

    return {
        "clip": made("eurosat", eurosat()),
        "vtab": made("eurosat", eurosat(), partition="vtab"),
        "frames": made("kitti_distance", kitti(), partition="frames"),
        "subset": made("clevr_counts", clevr(), subset=True),
    }


@pytest.mark.parametrize(("name", "variant", "split"), PINNED)
def test_what_is_chosen_of_the_official_ids_never_changes(name: str, variant: str, split: str, official: dict) -> None:
    assert official[variant].split(split).sha256 == PINNED[name, variant, split]


def test_sizes_a_class_of_eurosat(official: dict) -> None:
    clip = {name: official["clip"].split(name) for name in ("trainval", "test")}
    assert {name: set(np.bincount(split.labels).tolist()) for name, split in clip.items()} == {
        "trainval": {1000},
        "test": {500},
    }
    assert np.bincount(official["vtab"].split("test").labels).tolist() == [n // 5 for n in EUROSAT.values()]


def test_the_order_of_ids_changes_nothing() -> None:
    assert shuffled(IDS, "a") == shuffled(reversed(IDS), "a") != shuffled(IDS, "b")
    assert sorted(shuffled(IDS, "a")) == IDS


def test_the_hashes_of_the_rules_are_pinned(written: Callable) -> None:
    assert ids_sha256(["a", "b"]) == sha256(b"a\nb\n").hexdigest()
    held = held_out(IDS, np.arange(100) % 3, "seed", lambda key: key[:2])
    assert ids_sha256(np.array(IDS)[held].tolist())[:16] == "eda1089db0a1dafa"
    of_tiny = {name: written(name).loader().split("train").sha256[:16] for name in ("caltech101", "food101", "gtsrb")}
    assert of_tiny == {
        "caltech101": "9ed181abd395242d",
        "food101": "f927c9d92dd5501b",
        "gtsrb": "ef1b76957f49f52c",
    }


def test_a_fifth_of_each_class_is_held_out() -> None:
    labels = np.repeat([0, 1, 2, 3], [50, 40, 9, 1])
    held = held_out(IDS, labels, "seed")
    assert np.bincount(labels[held], minlength=4).tolist() == [10, 8, 2, 0]


def test_whole_groups_are_held_out() -> None:
    labels = np.repeat([0, 1], 50)
    held = held_out(IDS, labels, "seed", lambda key: key[:2])  # ten a group, five groups a class
    groups = {key[:2]: set() for key in IDS}
    for key, one in zip(IDS, held, strict=True):
        groups[key[:2]].add(bool(one))
    assert all(len(kinds) == 1 for kinds in groups.values())
    assert np.bincount(labels[held]).tolist() == [10, 10]


def test_a_class_of_one_group_is_never_held_out() -> None:
    assert not held_out(IDS, np.zeros(100, np.int64), "seed", lambda key: "one").any()


def test_portions_and_their_scale() -> None:
    labels = np.repeat([0, 1], [60, 40])
    first, second = portions(IDS, labels, "seed", lambda count: scaled([30, 20], count))
    assert not (first & second).any()
    assert [np.bincount(labels[mask]).tolist() for mask in (first, second)] == [[30, 24], [20, 16]]
    assert scaled([30, 20], 4) == [2, 2] and scaled([6347, 423, 711], 24) == [20, 1, 3]


def test_tracks_of_signs_are_not_split(written: Callable) -> None:
    """Frames of one track are nearly alike: in train and validation they would make validation easy."""
    loader = written("gtsrb").loader()
    tracks = [{key.rpartition("_")[0] for key in loader.split(name).keys} for name in ("train", "validation")]
    assert tracks[0] and tracks[1] and not tracks[0] & tracks[1]
    assert Counter(loader.split("validation").labels.tolist()) == {0: 4, 42: 4}


def test_groups_of_videos_are_not_split(written: Callable) -> None:
    loader = written("ucf101").loader()
    groups = [{key.rpartition("_")[0] for key in loader.split(name).keys} for name in ("train", "validation")]
    assert groups[0] and groups[1] and not groups[0] & groups[1]
    assert "whole groups" in loader.split("validation").rule


def test_scenes_without_their_lists_are_split_by_a_rule(own: Callable) -> None:
    made = own("sun397")
    assert made.loader().split("test").rule is None
    for path in made.root.glob("T*_01.txt"):
        Path(path).unlink()
    loader = made.loader()
    assert "50 and 50 of each class" in loader.split("test").rule
    assert [np.bincount(loader.split(name).labels).tolist() for name in ("trainval", "test")] == [[4, 4, 4], [4, 4, 4]]
    with pytest.raises(Missing, match=r"Training_01.txt"):
        made.loader(partition=1)
