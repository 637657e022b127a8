"""SNLI-VE (Xie et al. 2019): does a Flickr30k photo entail a sentence, contradict it, or neither?"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from vltk.errors import VltkError
from vltk.eval.datasets._counts import counts_of, require_count, require_split
from vltk.eval.datasets._files import Files
from vltk.eval.datasets._json import field, lines
from vltk.eval.datasets._rows import Row, Rows

CLASSES = ("entailment", "neutral", "contradiction")
UNDECIDED = "-"  # the annotators did not agree
FOLDERS = ("flickr30k_images", "flickr30k-images", "images", "Images")
ID_KEYS = ("image", "Flickr30K_ID", "Flickr30kID", "Flikr30kID")  # `image`: a file name, in cuts of the data set


class SnliVe:
    """`texts` is the hypothesis (`sentence2`), the label its relation to the photo; rows without one are left out."""

    classes = CLASSES
    splits = ("train", "dev", "test")

    def __init__(self, files: Files, *, nonstandard: bool = False) -> None:
        self.files, self.nonstandard = files, nonstandard
        self.counts = counts_of("snli_ve")

    def split(self, name: str) -> Rows:
        """Raises VltkError for an unknown split, lines that are cut short, unknown labels, another number of rows."""
        require_split("snli_ve", name, self.splits)
        path = f"snli_ve_{name}.jsonl"
        where = self.files.where(path)
        folder = self._folder()
        rows, left_out = [], 0
        for number, row in lines(self.files, path):
            if row.get("gold_label") == UNDECIDED:
                left_out += 1
            else:
                rows.append(self._row(f"{where}, line {number}", number, row, folder))
        require_count("snli_ve", name, len(rows), self.nonstandard)
        return Rows("snli_ve", name, self.files, rows, left_out)

    def _row(self, where: str, number: int, row: dict[str, Any], folder: str) -> Row:
        label = field(row, where, "gold_label")
        if label not in CLASSES:
            raise VltkError(f"{where}: the label {label!r} is none of {', '.join(CLASSES)}")
        name = PurePosixPath(str(field(row, where, *ID_KEYS))).name.removesuffix(".jpg")
        facts = {"pair": str(row.get("pairID", number))}
        text = str(field(row, where, "sentence2")).strip()
        return Row(str(number), f"{folder}/{name}.jpg", (text,), CLASSES.index(label), facts)

    def _folder(self) -> str:
        """The folder of the photos, as one of those who pass Flickr30k on named it."""
        return next((folder for folder in FOLDERS if self.files.exists(folder)), FOLDERS[0])
