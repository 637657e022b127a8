"""MATLAB files (`.mat` up to version 7)."""

from __future__ import annotations

import io
from typing import Any

from vltk.errors import VltkError
from vltk.eval.datasets._contract import Files


def variable(files: Files, path: str, name: str) -> Any:
    """One variable with its single dimensions dropped. Raises VltkError where it is absent or the file is damaged."""
    from scipy.io import loadmat

    data = files.read(path)
    try:
        held = loadmat(io.BytesIO(data), squeeze_me=True)
    except Exception as error:  # loadmat raises whatever its reader stumbles over
        raise VltkError(
            f"{path} ({len(data):,} bytes) is damaged, or no MATLAB file: {error}; bring it again"
        ) from None
    if name not in held:
        have = ", ".join(key for key in held if not key.startswith("__")) or "nothing"
        raise VltkError(f"{path} has no variable '{name}'; it has: {have}")
    return held[name]
