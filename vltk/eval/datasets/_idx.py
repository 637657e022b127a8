"""The idx format of MNIST: big-endian magic and sizes, then bytes. http://yann.lecun.com/exdb/mnist"""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

from vltk.errors import VltkError
from vltk.eval.datasets._contract import Files

UINT8 = 8  # the type's code, in the third byte


def array(files: Files, path: str, ndim: int) -> NDArray[np.uint8]:
    """The array of a file. Raises VltkError where it is cut short, or another kind of file."""
    data = files.read(path)
    start = 4 + 4 * ndim
    magic = int.from_bytes(data[:4], "big")
    if len(data) < start or magic != (UINT8 << 8) + ndim:
        raise VltkError(f"{path} starts with {magic}, but {(UINT8 << 8) + ndim} is expected: it is another file")
    shape = struct.unpack(f">{ndim}I", data[4:start])
    if len(data) != start + int(np.prod(shape, dtype=np.int64)):
        size = " x ".join(map(str, shape))
        raise VltkError(f"{path} has {len(data) - start:,} bytes of data for {size}: it is cut short; bring it again")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)
