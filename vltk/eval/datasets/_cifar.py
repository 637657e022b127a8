"""The batches of CIFAR-10 and CIFAR-100: pickles of rows of 3,072 bytes, the red plane first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vltk.errors import VltkError
from vltk.eval.datasets._contract import Files
from vltk.eval.datasets._images import Raw
from vltk.eval.datasets._pickles import unpickled, value
from vltk.eval.datasets._samples import Samples

SIZE = 32


def class_names(files: Files, path: str, key: bytes) -> list[str]:
    """The class names of `batches.meta` or `meta`."""
    return [name.decode().replace("_", " ") for name in value(unpickled(files, path), key, list, path)]


def batches(files: Files, paths: Sequence[str], labels: bytes, name: str) -> Samples:
    """The batches one after the other; a key is BATCH/ROW. Raises VltkError for a batch that is not whole."""
    keys: list[str] = []
    rows, numbers = [], []
    for path in paths:
        held = unpickled(files, path)
        data, classes = value(held, b"data", np.ndarray, path), value(held, labels, list, path)
        if data.dtype != np.uint8 or data.shape != (len(classes), 3 * SIZE**2):
            raise VltkError(
                f"{path} has {data.dtype} data of shape {data.shape} for {len(classes):,} labels; "
                f"uint8 of ({len(classes)}, {3 * SIZE**2}) is expected: it is cut, or another file"
            )
        if not all(isinstance(label, int) for label in classes):
            raise VltkError(f"{path} has labels that are no whole numbers: it is another file")
        keys += [f"{path.split('/')[-1]}/{row:05d}" for row in range(len(classes))]
        rows.append(data.reshape(-1, 3, SIZE, SIZE))
        numbers += classes
    pixels = np.concatenate(rows).transpose(0, 2, 3, 1)  # (N, 3, H, W) -> (N, H, W, 3)
    return Samples(name, keys, np.array(numbers, np.int64), Raw(pixels), ", ".join(paths))
