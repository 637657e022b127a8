"""Pickles of arrays, lists and numbers, and of nothing else: no code of a file is ever run."""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np

from vltk.errors import VltkError
from vltk.eval.datasets._contract import Files

EMPTY = np.zeros(0).__reduce__()[0]  # NumPy's own maker of an empty array, whatever its module is called
ARRAYS: dict[tuple[str, str], Any] = {  # what a pickled array asks for, under the names of old and new NumPy
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): EMPTY,
    ("numpy._core.multiarray", "_reconstruct"): EMPTY,
}
DAMAGED = (pickle.UnpicklingError, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError, MemoryError)


class _Refused(Exception):
    """Holds the name that a pickle asked for."""


class _Arrays(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ARRAYS:
            raise _Refused(f"{module}.{name}")
        return ARRAYS[module, name]


def unpickled(files: Files, path: str) -> dict[bytes, Any]:
    """A dictionary that Python 2 pickled, its strings as bytes.

    Raises VltkError where it is cut short, no dictionary, or asks for anything but arrays.
    """
    data = files.read(path)
    try:
        held = _Arrays(io.BytesIO(data), encoding="bytes").load()
    except _Refused as error:
        raise VltkError(
            f"{path} is refused: it would call {error}, which no official file does; do not trust where it came from"
        ) from None
    except DAMAGED as error:
        raise VltkError(f"{path} ({len(data):,} bytes) is damaged or cut short: {error}; bring it again") from None
    if not isinstance(held, dict):
        raise VltkError(f"{path} holds {type(held).__name__}, no dictionary: it is another file")
    return held


def value(held: dict[bytes, Any], key: bytes, kind: type, path: str) -> Any:
    """One value. Raises VltkError where it is absent or of another type."""
    if not isinstance(held.get(key), kind):
        have = ", ".join(sorted(str(name) for name in held)) or "nothing"
        raise VltkError(f"{path} has no {kind.__name__} '{key.decode()}'; it has: {have}")
    return held[key]
