"""Class folders: `FOLDER/CLASS/IMAGE`, the class by the folder's name."""

from __future__ import annotations

from pathlib import PurePosixPath

import numpy as np

from vltk.data.image import ENDINGS
from vltk.eval.datasets._contract import Files
from vltk.eval.datasets._images import Encoded
from vltk.eval.datasets._lists import class_number
from vltk.eval.datasets._samples import Samples


def class_folders(files: Files, folder: str, numbers: dict[str, int], name: str, keys: str = "") -> Samples:
    """The images of `folder` with the number of their class; `keys` goes before `CLASS/IMAGE` in the keys.

    Raises Missing where there are none, VltkError for a folder that is no class.
    """
    paths = images(files, folder)
    below = [path.removeprefix(f"{folder}/") for path in paths]
    labels = [class_number(key.split("/")[0], numbers, folder, key) for key in below]
    return Samples(name, [keys + key for key in below], np.array(labels, np.int64), Encoded(files, paths), folder)


def images(files: Files, folder: str, levels: int = 2) -> list[str]:
    """The images `levels` below a folder, sorted. Raises Missing where there are none."""
    pattern = "/".join([folder, *["*"] * levels])
    depth = pattern.count("/")
    found = [path for path in files.names(pattern) if path.count("/") == depth and _is_image(path)]
    if not found:
        files.require(pattern)
    return found


def _is_image(path: str) -> bool:
    pure = PurePosixPath(path)
    return pure.suffix.lower() in ENDINGS and not pure.name.startswith(".")
