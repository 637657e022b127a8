"""UCF101: 101 human actions, each video by its middle frame, three official partitions.

Official counts: 9,537 train and 3,783 test in partition 1, 9,586 and 3,734 in 2, 9,624 and 3,696 in 3; no validation:
it is held out by whole groups, as the videos of a group show one person in one place.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from vltk.errors import VltkError
from vltk.eval.datasets._contract import Files
from vltk.eval.datasets._folders import images
from vltk.eval.datasets._images import Encoded, Images
from vltk.eval.datasets._lists import class_number, number, numbers, require_all, rows
from vltk.eval.datasets._names import words
from vltk.eval.datasets._samples import Samples
from vltk.eval.datasets._splits import SPLITS, TWO, Splits
from vltk.eval.datasets._video import MiddleFrames

COUNTS = {"classes": 101, "trainval": 9_537, "test": 3_783}  # of partition 1
SIZES = {1: (9_537, 3_783), 2: (9_586, 3_734), 3: (9_624, 3_696)}
VIDEOS, FRAMES = "UCF-101", "UCF-101-midframes"
LISTS = "ucfTrainTestlist"


class Ucf101:
    """Frames that were taken out before are used where there are no videos: `UCF-101-midframes/CLASS/v_NAME.jpg`."""

    splits = SPLITS

    def __init__(
        self, files: Files, *, partition: Annotated[int, Field(ge=1, le=3)] = 1, nonstandard: bool = False
    ) -> None:
        self._lists = {name: f"{LISTS}/{name.removesuffix('val')}list{partition:02d}.txt" for name in TWO}
        files.require(f"{LISTS}/classInd.txt", *self._lists.values())
        self._files = files
        self._folders = self._class_folders()
        self.classes = [words(folder) for folder in self._folders]
        self.counts = COUNTS | dict(zip(TWO, SIZES[partition], strict=True))
        self._splits = Splits(
            "ucf101", self.classes, self.counts, self._read, own=TWO, nonstandard=nonstandard, group=_group
        )

    def split(self, name: str) -> Samples:
        return self._splits.get(name)

    def _class_folders(self) -> list[str]:
        """`classInd.txt` counts from 1."""
        path = f"{LISTS}/classInd.txt"
        listed = [(number(one, path, name), name) for one, name in rows(self._files, path, ["NUMBER", "CLASS"])]
        if [one for one, _ in listed] != list(range(1, len(listed) + 1)):
            raise VltkError(f"{path} does not count its classes from 1 on: it is cut, or another file")
        return [name for _, name in listed]

    def _read(self, name: str) -> Samples:
        listed, place = self._lists[name], numbers([folder.lower() for folder in self._folders])
        columns = ["VIDEO", "CLASS"] if name == "trainval" else ["VIDEO"]
        keys, labels = [], []
        for video, *classes in rows(self._files, listed, columns):
            label = class_number(video.split("/")[0].lower(), place, listed, video)
            if classes and number(classes[0], listed, video) != label + 1:
                raise VltkError(
                    f"{listed}: {video} is of class {classes[0]}, but {self._folders[label]} is {label + 1}"
                )
            keys.append(video.removesuffix(".avi"))
            labels.append(label)
        return Samples(name, keys, np.array(labels, np.int64), self._images(keys, listed), listed)

    def _images(self, keys: list[str], listed: str) -> Images:
        """Lists and folders do not agree on upper and lower case (HandstandPushups)."""
        in_videos = self._files.exists(VIDEOS) or not self._files.exists(FRAMES)
        folder, suffix = (VIDEOS, ".avi") if in_videos else (FRAMES, ".jpg")
        found = self._files.names(f"{folder}/*/*{suffix}") if in_videos else images(self._files, folder)
        actual = {path.rpartition(".")[0].lower(): path for path in found}
        paths = [actual.get(f"{folder}/{key}".lower(), f"{folder}/{key}{suffix}") for key in keys]
        require_all(self._files, paths, listed)
        return MiddleFrames(self._files, paths) if in_videos else Encoded(self._files, paths)


def _group(key: str) -> str:
    """CLASS/v_CLASS_g08 of CLASS/v_CLASS_g08_c01."""
    return key.rpartition("_")[0]
