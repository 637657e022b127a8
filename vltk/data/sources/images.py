"""A folder or tar of images alone, with or without class folders."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from vltk.data.image import BadImage
from vltk.data.prepare import prepare_image
from vltk.data.shard import Record, Rejected
from vltk.data.sources._images import ImageFiles
from vltk.data.sources._split import read_split


class Images:
    """`records()`: one sample an image, by name; where every image lies in a class folder, its name is the `label`."""

    def __init__(
        self, source: Path, split_list: Path | None = None, *, short_side: int = 256, quality: int = 90
    ) -> None:
        self.source, self.split_list = source, split_list
        self.short_side, self.quality = short_side, quality

    def records(self) -> Iterator[Record | Rejected]:
        files = ImageFiles(self.source)
        split = read_split(self.split_list) if self.split_list else None
        labels = _labels(files.names)
        for name in files.names:
            path = PurePosixPath(name)
            if split is not None and not {path.name, path.stem} & split:
                yield Rejected(name, "not_in_split")
                continue
            yield self._record(files, name, {"label": labels[name]} if labels else {})

    def _record(self, files: ImageFiles, name: str, meta: dict[str, str]) -> Record | Rejected:
        try:
            image = prepare_image(files.read(name), self.short_side, self.quality)
        except BadImage as reason:
            return Rejected(name, "image_undecodable", str(reason))
        return Record(PurePosixPath(name).with_suffix("").as_posix(), image, [], meta)


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
