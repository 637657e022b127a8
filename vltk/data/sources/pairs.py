"""Images (folder or tar) with a caption file: one sample an image, all its captions in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from vltk.data.image import BadImage
from vltk.data.prepare import prepare_image
from vltk.data.shard import Record, Rejected
from vltk.data.sources._captions import read_captions
from vltk.data.sources._images import ImageFiles
from vltk.data.sources._split import read_split
from vltk.errors import VltkError

MAX_ABSENT = 0.5  # share of captioned images that may be absent


class Pairs:
    """`records()`: images in the order of the caption file; absent, undecodable and filtered ones as rejected rows."""

    def __init__(
        self,
        source: Path,
        captions: Path,
        split_list: Path | None = None,
        *,
        short_side: int = 256,
        quality: int = 90,
    ) -> None:
        self.source, self.captions, self.split_list = source, captions, split_list
        self.short_side, self.quality = short_side, quality

    def records(self) -> Iterator[Record | Rejected]:
        rows = read_captions(self.captions)
        files = ImageFiles(self.source)
        grouped: dict[str, list[str]] = {}
        for row in rows:
            if caption := " ".join(row.caption.split()):
                grouped.setdefault(row.image, []).append(caption)
            else:
                yield Rejected(row.image, "empty_caption", f"{self.captions.name}:{row.place}")
        wanted = self._wanted(grouped)
        self._check_present(wanted, files)
        for name, texts in grouped.items():
            yield self._record(name, texts, files) if name in wanted else Rejected(name, "not_in_split")

    def _wanted(self, grouped: dict[str, list[str]]) -> set[str]:
        if self.split_list is None:
            return set(grouped)
        split = read_split(self.split_list)
        wanted = {name for name in grouped if PurePosixPath(name).name in split or PurePosixPath(name).stem in split}
        if not wanted:
            raise VltkError(f"no image of {self.split_list} is in {self.captions}: the lists do not belong together")
        return wanted

    def _check_present(self, wanted: set[str], files: ImageFiles) -> None:
        absent = [name for name in sorted(wanted) if files.find(name) is None]
        if len(absent) > MAX_ABSENT * len(wanted):
            raise VltkError(
                f"{len(absent)} of the {len(wanted)} images that {self.captions} names are not in {self.source}, "
                f"for instance {', '.join(absent[:3])}; there it has {', '.join(files.names[:3])}\n"
                f"Give the folder or tar that holds them: vltk data shard IMAGES NAME --captions {self.captions}"
            )

    def _record(self, name: str, texts: list[str], files: ImageFiles) -> Record | Rejected:
        path = files.find(name)
        if path is None:
            return Rejected(name, "image_absent", f"not in {self.source.name}, or there more than once")
        try:
            image = prepare_image(files.read(path), self.short_side, self.quality)
        except BadImage as reason:
            return Rejected(name, "image_undecodable", str(reason))
        return Record(PurePosixPath(path).with_suffix("").as_posix(), image, texts)
