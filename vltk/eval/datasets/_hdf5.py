"""Arrays in HDF5 files, read row by row by h5py, which is an extra."""

from __future__ import annotations

import gzip
import shlex
from typing import Any

from vltk.errors import Missing, VltkError
from vltk.eval.datasets._contract import Files


def dataset(files: Files, path: str, name: str) -> Any:
    """One array of a file, indexed like NumPy's; h5py takes its own lock, so any thread may.

    Raises Missing where h5py is absent, VltkError where the file is compressed as a whole, damaged, or another one.
    """
    try:
        import h5py
    except ImportError:
        raise Missing(f"{path} is an HDF5 file:", [("h5py, which reads it", "pip install 'vltk[eval]'")]) from None

    file = files.open(path)
    if isinstance(file, gzip.GzipFile):
        packed = shlex.quote(str(file.name))
        raise Missing(
            f"{file.name} is compressed as a whole, and images are read from its middle:",
            [(f"{path}, beside it", f"gunzip --keep {packed}")],
        )
    try:
        held = h5py.File(file, "r")
    except OSError as error:
        raise VltkError(f"{path} is damaged or cut short: {error}; bring it again") from None
    if name not in held:
        raise VltkError(f"{path} has no array '{name}'; it has: {', '.join(held) or 'nothing'}")
    return held[name]
