"""Split lists: a text file with one image name a line, such as Flickr_8k.trainImages.txt."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from vltk.errors import VltkError


def read_split(path: Path) -> set[str]:
    """The file names in the list, without folders. Raises VltkError when it is absent or empty."""
    if not path.is_file():
        raise VltkError(f"the split list {path} is not there")
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    names = {PurePosixPath(line.strip()).name for line in lines if line.strip()}
    if not names:
        raise VltkError(f"the split list {path} is empty: it needs one image name a line")
    return names
