"""Images (folder or tar) with a caption file: one sample an image, all its captions in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from vltk.data.ahead import ahead
from vltk.data.caption import normalise
from vltk.data.prepare import Limits, NotAdmitted, admit
from vltk.data.record import Record, Rejected
from vltk.data.sources._captions import read_captions
from vltk.data.sources._images import ImageFiles
from vltk.data.sources._raw import as_given
from vltk.data.sources._split import read_split
from vltk.data.statuses import Status
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
        limits: Limits | None = None,
    ) -> None:
        self.source, self.captions, self.split_list = source, captions, split_list
        self.limits = limits or Limits()

    def records(self) -> Iterator[Record | Rejected]:
        rows = read_captions(self.captions)
        files = ImageFiles(self.source)
        grouped: dict[str, list[str]] = {}
        for row in rows:
            if row.problem:
                place = f"{self.captions.name}:{row.place}"
                yield Rejected(place, Status.unreadable_row, row.problem, {"caption": row.caption})
            elif normalise(row.caption).text:
                grouped.setdefault(row.image, []).append(row.caption)
            else:
                yield Rejected(row.image, Status.no_caption, f"{self.captions.name}:{row.place}")
        wanted = self._wanted(grouped)
        self._check_present(wanted, files)

        def record(name: str) -> Record | Rejected:
            if name not in wanted:
                return Rejected(name, Status.filtered, "not in the split list")
            return self._record(name, grouped[name], files)

        yield from ahead(record, grouped, len(grouped))

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

    def _record(self, name: str, captions: list[str], files: ImageFiles) -> Record | Rejected:
        path = files.find(name)
        if path is None:
            return Rejected(name, Status.missing_file, f"not in {self.source.name}, or there more than once")
        try:
            made = admit(files.read(path), self.limits)
        except NotAdmitted as reason:
            return Rejected(name, reason.status, reason.detail, reason.row)
        cleaned = [normalise(caption) for caption in captions]
        row = made.row | ({"caption": as_given(captions)} if any(caption.changed for caption in cleaned) else {})
        key = PurePosixPath(path).with_suffix("").as_posix()
        return Record(key, made.image, [caption.text for caption in cleaned], {}, row)
