"""What protocols differ in, and the layouts that copies come in: options of the loaders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.official import arrays, folders, lists, scenes
from tests.official.pictures import save, shows
from vltk import parts
from vltk.data.image import decode
from vltk.errors import Missing, VltkError
from vltk.eval.datasets._files import Files
from vltk.eval.datasets.kitti_distance import distance_class, nearest


def loader(name: str, root: Path, **options: Any) -> Any:
    return parts.choose("eval/datasets", name, nonstandard=True, **options).build(files=Files(root))


def test_kitti_counts_from_near_to_far() -> None:
    """By the alphabet, above_20 would come first."""
    distances = [0.0, 8.0, 8.01, 20.0, 20.01, 500.0, None]
    assert [distance_class(one) for one in distances] == [0, 0, 1, 1, 2, 2, 3]
    classes = parts.choose("eval/datasets", "kitti_distance").build(files=Files(Path())).classes
    assert ["within 8" in classes[0], "8 to 20" in classes[1], "beyond 20" in classes[2], "no " in classes[3]] == [
        True
    ] * 4


@pytest.mark.parametrize(
    ("lines", "metres"),
    [
        ([scenes.vehicle("Car", 30), scenes.vehicle("Van", 9.5), scenes.vehicle("Truck", 12)], 9.5),
        ([scenes.vehicle("Pedestrian", 1), scenes.vehicle("Tram", 2), scenes.vehicle("Cyclist", 3)], None),
        ([scenes.DONT_CARE, scenes.vehicle("Car", 50)], 50),
        ([scenes.DONT_CARE], None),
        ([], None),
    ],
)
def test_the_nearest_vehicle(lines: list[str], metres: float | None) -> None:
    assert nearest("\n".join(lines), "000000.txt") == metres


def test_kitti_is_split_by_drives(written: Callable) -> None:
    """As TensorFlow Datasets draws them: a tenth of the sorted drives, then a tenth of the others, from seed 123."""
    made = written("kitti_distance")
    splits = {name: made.loader().split(name) for name in ("train", "validation", "test")}
    lines = [int(one) - 1 for one in (made.root / "mapping/train_rand.txt").read_text().split(",")]
    drives = {name: {lines[int(key)] // 2 for key in split.keys} for name, split in splits.items()}
    np.random.seed(123)
    test = np.random.choice(range(12), 1, replace=False).tolist()
    validation = np.random.choice([drive for drive in range(12) if drive not in test], 1, replace=False).tolist()
    assert drives["test"] == set(test) and drives["validation"] == set(validation)
    assert drives["train"] == set(range(12)) - {*test, *validation}


def test_kitti_without_the_mapping(own: Callable) -> None:
    made = own("kitti_distance")
    (made.root / "mapping/train_mapping.txt").unlink()
    with pytest.raises(Missing, match=r"mapping/train_mapping.txt"):
        made.loader().split("train")
    by_frame = made.loader(partition="frames")
    assert [len(by_frame.split(name)) for name in ("train", "validation", "test")] == [20, 1, 3]
    assert "single frames" in by_frame.split("test").rule


def test_clevr_counts_from_few_to_many(written: Callable) -> None:
    """By the alphabet, 10 would come first."""
    made = written("clevr_counts")
    assert made.loader().classes == ["3", "4", "5", "6", "7", "8", "9", "10"]
    split = made.loader().split("test")
    assert dict(zip(split.keys, split.labels.tolist(), strict=True))["CLEVR_val_000000.png"] == 7  # ten objects


def test_clevr_subset(written: Callable) -> None:
    small = written("clevr_counts").loader(subset=True)
    assert small.counts == {"classes": 8, "trainval": 2000, "test": 500}
    assert "2,000 of train" in small.split("trainval").rule and "500 of val" in small.split("test").rule


def test_imagenet_counts_by_sorted_id_and_not_by_the_devkit(written: Callable, tmp_path: Path) -> None:
    made = written("imagenet").loader()
    assert made.classes == ["tench", "goldfish", "great white shark"]
    assert made.split("test").labels.tolist() == [2, 0, 1, 2]
    truth = folders.imagenet(tmp_path, flat=False)
    plain = loader("imagenet", tmp_path)
    assert plain.classes == folders.WNIDS
    assert {key: truth[key] for key in plain.split("test").keys} == dict(
        zip(plain.split("test").keys, plain.split("test").labels, strict=True)
    )


def test_caltech_without_background(written: Callable) -> None:
    made = written("caltech101")
    without = made.loader(background=False)
    assert len(without.classes) == 101 and without.classes[0] == "face" and made.loader().classes[0] == "background"
    keys = without.split("test").keys
    assert not any("BACKGROUND" in key for key in keys)
    assert without.split("test").labels.tolist() == [made.truth[key] - 1 for key in keys]
    assert without.counts == {"classes": 101, "trainval": 3030, "test": 5647}
    assert np.bincount(made.loader().split("trainval").labels)[[0, 2, 5, 101]].tolist() == [3, 30, 4, 2]


def test_folds_of_stl10(written: Callable) -> None:
    first, last = (written("stl10").loader(fold=fold) for fold in (0, 9))
    assert first.split("trainval").keys == ["train/0000", "train/0001", "train/0003", "train/0004"]
    assert last.split("trainval").keys == ["train/0001", "train/0003", "train/0004", "train/0005"]
    assert first.split("trainval").rule is None and len(first.split("test")) == 4
    assert first.counts["trainval"] == 1000


def test_partitions_of_textures(written: Callable) -> None:
    first, second = (written("dtd").loader(partition=number) for number in (1, 2))
    assert first.split("train").keys == second.split("test").keys != first.split("test").keys
    with pytest.raises(Missing, match=r"dtd/labels/train3.txt"):
        written("dtd").loader(partition=3)


def test_counts_of_the_partitions_of_ucf101(own: Callable) -> None:
    made = own("ucf101")
    for name in ("trainlist", "testlist"):
        listed = made.root / f"ucfTrainTestlist/{name}01.txt"
        listed.rename(listed.with_name(f"{name}03.txt"))
    assert made.loader(partition=3).counts == {"classes": 101, "trainval": 9624, "test": 3696}
    assert len(made.loader(partition=3).split("test")) == 6


def test_land_of_the_first_release_and_of_vtab(tmp_path: Path) -> None:
    folders.eurosat(tmp_path, place="2750")
    made = loader("eurosat", tmp_path, partition="vtab")
    assert [len(made.split(name)) for name in ("train", "validation", "trainval", "test")] == [18, 6, 24, 6]
    assert made.classes[0] == "annual crop"


def test_signs_of_the_final_set(tmp_path: Path, written: Callable) -> None:
    assert written("gtsrb").loader().counts["trainval"] == 26_640
    folders.gtsrb(tmp_path, place="GTSRB/Final_Training/Images")
    final = loader("gtsrb", tmp_path)
    assert final.counts["trainval"] == 39_209 and len(final.split("trainval")) == 24
    folders.gtsrb(tmp_path)
    with pytest.raises(VltkError, match=r"both there; say which, as training: competition"):
        loader("gtsrb", tmp_path)
    assert loader("gtsrb", tmp_path, training="competition").counts["trainval"] == 26_640


def test_signs_in_class_folders(own: Callable) -> None:
    made = own("gtsrb")
    (made.root / "GT-final_test.csv").unlink()
    save(made.root / "GTSRB/Test/00042/00007_00001.ppm", 42)
    split = made.loader().split("test")
    assert (split.keys, split.labels.tolist()) == (["00042/00007_00001.ppm"], [42])


def test_faces_of_the_other_table(tmp_path: Path, written: Callable) -> None:
    truth = arrays.fer2013(tmp_path, name="icml_face_data.csv")
    one, other = written("fer2013").loader().split("test"), loader("fer2013", tmp_path).split("test")
    assert one.keys == other.keys and [truth[key] for key in other.keys] == other.labels.tolist()
    assert all(np.array_equal(one.read(n).image, other.read(n).image) for n in range(3))


def test_faces_in_class_folders(tmp_path: Path) -> None:
    save(tmp_path / "PublicTest/happy/PublicTest_1.jpg", 3)
    split = loader("fer2013", tmp_path).split("validation")
    assert (split.keys, split.labels.tolist()) == (["PublicTest/happy/PublicTest_1.jpg"], [3])
    with pytest.raises(Missing, match=r"fer2013.csv"):
        loader("fer2013", tmp_path).split("test")


def test_frames_that_were_taken_out_before(tmp_path: Path) -> None:
    truth = scenes.ucf101(tmp_path, frames=True)
    split = loader("ucf101", tmp_path).split("test")
    assert all(shows(decode(split.read(n).image), truth[key]) for n, key in enumerate(split.keys))
    assert loader("ucf101", tmp_path).classes == ["apply eye makeup", "handstand pushups", "yo yo"]


def test_the_labels_of_the_devkit_alone_do_not_do(own: Callable) -> None:
    made = own("stanford_cars")
    path = made.root / "cars_test_annos_withlabels.mat"
    path.rename(made.root / "devkit/cars_test_annos.mat")
    with pytest.raises(Missing, match=r"cars_test_annos_withlabels.mat"):
        made.loader()


def test_nonstandard_lets_batches_be_absent(own: Callable) -> None:
    made = own("cifar10")
    for number in (2, 4):
        (made.root / f"cifar-10-batches-py/data_batch_{number}").unlink()
    assert len(made.loader().split("trainval")) == 12
    with pytest.raises(Missing, match=r"data_batch_2[\s\S]*data_batch_4"):
        made.loader(nonstandard=False)


def test_digits_packed_or_not(tmp_path: Path, written: Callable) -> None:
    arrays.mnist(tmp_path, packed=True)
    packed, plain = loader("mnist", tmp_path).split("test"), written("mnist").loader().split("test")
    assert all(np.array_equal(packed.read(n).image, plain.read(n).image) for n in range(3))


def test_class_names_are_those_of_the_files(written: Callable) -> None:
    names = {name: written(name).loader().classes for name in ("cifar100", "fgvc_aircraft", "stanford_cars", "sun397")}
    assert names["cifar100"][:2] == ["apple", "aquarium fish"]
    assert names["fgvc_aircraft"] == ["707-320", "Cessna 172", "F/A-18"]
    assert names["stanford_cars"][0] == "AM General Hummer SUV 2000"
    assert names["sun397"] == ["abbey", "apartment building, outdoor", "zen garden"]


@pytest.mark.parametrize(
    ("name", "count", "some"),
    [
        ("caltech101", 102, {5: "accordion", 100: "wrench"}),
        ("country211", 211, {0: "Andorra", 49: "Germany", 210: "Zimbabwe"}),
        ("dtd", 47, {0: "banded", 46: "zigzagged"}),
        ("flowers102", 102, {0: "pink primrose", 101: "blackberry lily"}),
        ("gtsrb", 43, {0: "speed limit 20", 14: "stop", 42: "end of no overtaking by lorries"}),
        ("oxford_pets", 37, {0: "Abyssinian", 5: "Bengal", 36: "yorkshire terrier"}),
        ("pcam", 2, {0: "lymph node"}),
        ("rendered_sst2", 2, {0: "negative", 1: "positive"}),
        ("stl10", 10, {1: "bird", 2: "car"}),
    ],
)
def test_class_names_of_the_package(name: str, count: int, some: dict[int, str], written: Callable) -> None:
    classes = written(name).loader().classes
    assert len(classes) == len(set(classes)) == count
    assert {number: classes[number] for number in some} == some


def test_the_second_partition_of_scenes(own: Callable) -> None:
    made = own("sun397")
    for name in ("Training", "Testing"):
        (made.root / f"{name}_01.txt").rename(made.root / f"{name}_02.txt")
    assert made.loader(partition=2).split("test").rule is None
    assert len(made.loader(partition=2).split("test")) == 9


def test_lists_may_hold_separators(tmp_path: Path) -> None:
    truth = lists.fgvc_aircraft(tmp_path)
    split = loader("fgvc_aircraft", tmp_path).split("train")
    assert {truth[key] for key in split.keys} == {0, 1, 2} == set(split.labels.tolist())


def test_a_video_of_one_frame(tmp_path: Path, own: Callable) -> None:
    from vltk.eval.datasets._video import middle_frame

    scenes.video(tmp_path / "one.avi", 7, frames=1)
    assert shows(middle_frame((tmp_path / "one.avi").read_bytes(), "one.avi"), 7)
    assert cv2.VideoCapture(str(tmp_path / "one.avi")).get(cv2.CAP_PROP_FRAME_COUNT) == 1
