"""A folder or tar of images alone, with or without class folders."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from vltk.data.ahead import ahead
from vltk.data.prepare import Limits, NotAdmitted, admit
from vltk.data.record import Record, Rejected
from vltk.data.sources._images import ImageFiles
from vltk.data.sources._split import read_split
from vltk.data.statuses import Status


class Images:
    """`records()`: one sample an image, by name; where every image lies in a class folder, its name is the `label`."""

    def __init__(self, source: Path, split_list: Path | None = None, *, limits: Limits | None = None) -> None:
        self.source, self.split_list, self.limits = source, split_list, limits or Limits()

    def records(self) -> Iterator[Record | Rejected]:
        files = ImageFiles(self.source)
        split = read_split(self.split_list) if self.split_list else None
        labels = _labels(files.names)

        def record(name: str) -> Record | Rejected:
            path = PurePosixPath(name)
            if split is not None and not {path.name, path.stem} & split:
                return Rejected(name, Status.filtered, "not in the split list")
            return self._record(files, name, {"label": labels[name]} if labels else {})

        yield from ahead(record, files.names, len(files.names))

    def _record(self, files: ImageFiles, name: str, meta: dict[str, str]) -> Record | Rejected:
        try:
            made = admit(files.read(name), self.limits)
        except NotAdmitted as reason:
            return Rejected(name, reason.status, reason.detail, reason.row)
        return Record(PurePosixPath(name).with_suffix("").as_posix(), made.image, [], meta, made.row)


def _labels(names: list[str]) -> dict[str, str]:
    """The class folder of each image: the first folder below what all share; empty without at least two of them."""
    folders = {name: PurePosixPath(name).parts[:-1] for name in names}
    shared = 0
    while len({parts[shared] if len(parts) > shared else None for parts in folders.values()}) == 1:
        if any(len(parts) <= shared for parts in folders.values()):
            return {}
        shared += 1
    if any(len(parts) <= shared for parts in folders.values()):
        return {}
    return {name: parts[shared] for name, parts in folders.items()}
