"""The small files of a remote data set (manifest, skip list), brought to the cache each time it is opened."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from vltk.data.remote import Cache, content
from vltk.errors import VltkError

FILES = ("manifest.json", "skip.parquet")


def mirrored(url: str) -> Path:
    """The folder with the manifest of the data set at `url`. Raises VltkError when there is none."""
    folder = Cache().folder / "sets" / hashlib.sha256(url.rstrip("/").encode()).hexdigest()[:32]
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        data = content(f"{url.rstrip('/')}/{name}")
        if data is not None:
            _write(folder / name, data)
        elif name == "manifest.json":
            raise VltkError(f"{url}: no data set there (no {name}): upload the whole folder that vltk data made")
        else:
            (folder / name).unlink(missing_ok=True)
    return folder


def _write(path: Path, data: bytes) -> None:
    """In one move, so that another process reads the old file or the new one."""
    if path.exists() and path.read_bytes() == data:
        return
    handle, part = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
    os.replace(part, path)
