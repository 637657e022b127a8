"""COCO captions (Lin et al. 2014), in Karpathy's splits: 5,000 photos of val2014 for tests."""

from __future__ import annotations

import re
from collections.abc import Iterator

from vltk.errors import Missing, VltkError
from vltk.eval.datasets._captioned import Photo, as_rows, karpathy
from vltk.eval.datasets._counts import counts_of, require_count, require_split
from vltk.eval.datasets._files import Files
from vltk.eval.datasets._json import entries, field
from vltk.eval.datasets._rows import Rows

KARPATHY = "dataset_coco.json"
OFFICIAL = "annotations/captions_val2014.json"
PARTS = {"train": ("train", "restval"), "val": ("val",), "test": ("test",)}
TEST_CAPTIONS = 25_010
ID = re.compile(r"(\d+)(?:\.jpg)?$")


class Coco:
    """`texts` are all captions of a photo (five to seven), or the first `captions` of them.

    The split comes from Karpathy's JSON, or of val and test from `captions_val2014.json` and a list of photos
    (`coco_test.txt`: an id or a file name a line).
    """

    classes: tuple[str, ...] = ()
    splits = tuple(PARTS)

    def __init__(self, files: Files, *, captions: int | None = None, nonstandard: bool = False) -> None:
        self.files, self.captions, self.nonstandard = files, captions, nonstandard
        self.counts = counts_of("coco")

    def split(self, name: str) -> Rows:
        """Raises VltkError for an unknown split, files cut short, another number of photos or captions; Missing."""
        require_split("coco", name, self.splits)
        photos = list(self._karpathy(name) if self.files.exists(KARPATHY) else self._official(name))
        require_count("coco", name, len(photos), self.nonstandard)
        captions = sum(len(photo.captions) for photo in photos)
        if name == "test" and captions != TEST_CAPTIONS and not self.nonstandard:
            raise VltkError(
                f"coco test: {captions:,} captions, the official split has {TEST_CAPTIONS:,}; "
                "--allow-nonstandard evaluates it all the same"
            )
        return Rows("coco", name, self.files, as_rows(photos, "", self.captions))

    def _karpathy(self, split: str) -> Iterator[Photo]:
        return (photo for photo in karpathy(self.files, KARPATHY) if photo.split in PARTS[split])

    def _official(self, split: str) -> Iterator[Photo]:
        chosen = f"coco_{split}.txt"
        if not (self.files.exists(OFFICIAL) and self.files.exists(chosen)):
            raise Missing(
                f"coco {split}: the captions are absent:",
                [(f"{KARPATHY}, or {OFFICIAL} and {chosen} with the id of a photo a line", self.files.get)],
            )
        where = self.files.where(OFFICIAL)
        names = {int(field(one, where, "id")): str(field(one, where, "file_name")) for one in self._of("images")}
        captions: dict[int, list[str]] = {number: [] for number in names}
        for one in self._of("annotations"):
            captions[int(field(one, where, "image_id"))].append(str(field(one, where, "caption")).strip())
        for number in self._ids(chosen):
            if number not in names:
                raise VltkError(f"{self.files.where(chosen)}: the photo {number} is not in {OFFICIAL}")
            yield Photo(f"val2014/{names[number]}", tuple(captions[number]))

    def _of(self, key: str) -> Iterator[dict[str, object]]:
        return entries(self.files, OFFICIAL, key)

    def _ids(self, path: str) -> Iterator[int]:
        for line in self.files.read(path).decode("utf-8-sig").splitlines():
            found = ID.search(line.split()[0]) if line.strip() else None
            if line.strip() and found is None:
                raise VltkError(f"{self.files.where(path)}: {line[:60]!r} ends in no number of a photo")
            if found is not None:
                yield int(found[1])
