"""The frame in the middle of a video."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import PurePosixPath

import cv2
import numpy as np

from vltk.errors import VltkError
from vltk.eval.datasets._contract import Files, Pixels


class MiddleFrames:
    """Images that are the middle frames of videos: frame `frames // 2`, counted from 0."""

    def __init__(self, files: Files, paths: Sequence[str]) -> None:
        self._files, self.paths = files, paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Pixels:
        return middle_frame(self._files.read(self.paths[index]), self.paths[index])


def middle_frame(video: bytes, path: str) -> Pixels:
    """(H, W, 3). Raises VltkError where the video ends before its middle."""
    with tempfile.NamedTemporaryFile(suffix=PurePosixPath(path).suffix) as file:  # OpenCV reads videos by name only
        file.write(video)
        file.flush()
        capture = cv2.VideoCapture(file.name)
        try:
            middle = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) // 2
            there = capture.isOpened() and all(capture.grab() for _ in range(middle + 1))  # seeking is not exact
            read, frame = capture.retrieve() if there else (False, None)
        finally:
            capture.release()
    if not read or frame is None:
        raise VltkError(
            f"{path} ({len(video):,} bytes) is no whole video: it has no frame in its middle; bring it again"
        )
    return np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), np.uint8)
