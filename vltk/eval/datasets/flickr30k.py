"""Flickr30k (Young et al. 2014): photos with five captions each, in Karpathy's splits."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath

from vltk.errors import Missing
from vltk.eval.datasets._captioned import Photo, as_rows, karpathy, table, token_file
from vltk.eval.datasets._counts import counts_of, require_count, require_split
from vltk.eval.datasets._files import Files
from vltk.eval.datasets._rows import Rows

KARPATHY, TABLE = "dataset_flickr30k.json", "flickr_annotations_30k.csv"
TOKENS = ("results_20130124.token", "Flickr8k.token.txt")
FOLDERS = ("flickr30k-images", "flickr30k_images", "images", "Images")
SPLITS = {"train": "train", "val": "dev", "test": "test"}  # and how Flickr8k names their lists


class Flickr30k:
    """`texts` are the captions of a photo, at most `captions` of them (None: all).

    The split comes from Karpathy's JSON, from the CSV with the columns raw, filename and split, from a CSV of the split
    alone (`flickr30k_test_karpathy.txt`), or from the token file and a list of photos (`test.txt`). Flickr8k's files,
    which have the same form, are read too.
    """

    classes: tuple[str, ...] = ()
    splits = tuple(SPLITS)

    def __init__(self, files: Files, *, captions: int | None = None, nonstandard: bool = False) -> None:
        self.files, self.captions, self.nonstandard = files, captions, nonstandard
        self.counts = counts_of("flickr30k")

    def split(self, name: str) -> Rows:
        """Raises VltkError for an unknown split, files that are cut short, another number of photos; Missing."""
        require_split("flickr30k", name, self.splits)
        folder = next((folder for folder in FOLDERS if self.files.exists(folder)), FOLDERS[0])
        rows = as_rows(self._photos(name), folder, self.captions)
        require_count("flickr30k", name, len(rows), self.nonstandard)
        return Rows("flickr30k", name, self.files, rows)

    def _photos(self, split: str) -> Iterable[Photo]:
        own = f"flickr30k_{split}_karpathy.txt"
        if self.files.exists(KARPATHY):
            return [photo for photo in karpathy(self.files, KARPATHY) if photo.split == split]
        if self.files.exists(TABLE):
            return [photo for photo in table(self.files, TABLE) if photo.split == split]
        if self.files.exists(own):
            return table(self.files, own)
        return self._of_tokens(split)

    def _of_tokens(self, split: str) -> Iterable[Photo]:
        tokens = next((path for path in TOKENS if self.files.exists(path)), None)
        lists = (f"{split}.txt", f"flickr30k_{split}.txt", f"Flickr_8k.{SPLITS[split]}Images.txt")
        chosen = next((path for path in lists if self.files.exists(path)), None)
        if tokens is None or chosen is None:
            what = (
                KARPATHY if tokens is None else f"the photos of {split}: {lists[0]} with a name a line, or {KARPATHY}"
            )
            raise Missing(f"flickr30k {split}: the captions are absent:", [(what, self.files.get)])
        names = self.files.read(chosen).decode("utf-8-sig").split()
        photos = {PurePosixPath(photo.path).stem: photo for photo in token_file(self.files, tokens)}
        stems = [PurePosixPath(name).stem for name in names]
        if absent := [name for name in stems if name not in photos]:
            what = f"captions of {len(absent):,} photos of {chosen}, the first {absent[0]}, not there in {tokens}"
            raise Missing(f"flickr30k {split} is not complete:", [(what, self.files.get)])
        return [photos[name] for name in stems]
