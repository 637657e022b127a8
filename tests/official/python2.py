"""Pickles as Python 2 wrote them: protocol 2, strings of bytes, NumPy's modules under their old names."""

from __future__ import annotations

import io
import pickle
import struct
from typing import Any

import numpy as np

EMPTY = np.zeros(0).__reduce__()[0]


class _Python2(pickle._Pickler):  # type: ignore[name-defined]  # the one in C has no such hooks
    dispatch = dict(pickle._Pickler.dispatch)  # type: ignore[attr-defined]

    def save_string(self, value: str | bytes) -> None:
        data = value.encode("ascii") if isinstance(value, str) else value
        head = b"U" + bytes([len(data)]) if len(data) < 256 else b"T" + struct.pack("<i", len(data))
        self.write(head + data)
        self.memoize(value)

    dispatch[str] = dispatch[bytes] = save_string

    def save_global(self, value: Any, name: str | None = None) -> None:
        if value is EMPTY:
            self.write(b"cnumpy.core.multiarray\n_reconstruct\n")
        else:
            super().save_global(value, name)


def dumps(value: Any) -> bytes:
    out = io.BytesIO()
    _Python2(out, 2).dump(value)
    return out.getvalue()
