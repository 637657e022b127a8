"""Hateful Memes (Kiela et al. 2020): pictures with a caption that may be hateful only together."""

from __future__ import annotations

from typing import Any

from vltk.errors import VltkError
from vltk.eval.datasets._counts import counts_of, require_count, require_split
from vltk.eval.datasets._files import Files
from vltk.eval.datasets._json import field, lines
from vltk.eval.datasets._rows import Row, Rows

CLASSES = ("not_hateful", "hateful")
OLDER = {"dev_seen": "dev.jsonl", "test_seen": "test.jsonl"}  # of the first phase; its test has no labels


class HatefulMemes:
    """`texts` is the caption as people transcribed it (`text` of the file; FLAVA reads it from the picture by OCR).

    The literature before the challenge's second phase reports the `seen` splits, MMF the `unseen` ones.
    """

    classes = CLASSES
    splits = ("train", "dev_seen", "test_seen", "dev_unseen", "test_unseen")

    def __init__(self, files: Files, *, nonstandard: bool = False) -> None:
        self.files, self.nonstandard = files, nonstandard
        self.counts = counts_of("hateful_memes")

    def split(self, name: str) -> Rows:
        """Raises VltkError for an unknown split, lines that are cut short, other labels than 0 and 1, another count."""
        require_split("hateful_memes", name, self.splits)
        path = self._path(name)
        where = self.files.where(path)
        rows = [self._row(f"{where}, line {number}", row) for number, row in lines(self.files, path)]
        require_count("hateful_memes", name, len(rows), self.nonstandard)
        return Rows("hateful_memes", name, self.files, rows)

    def _path(self, split: str) -> str:
        path, older = f"{split}.jsonl", OLDER.get(split)
        return older if older is not None and not self.files.exists(path) and self.files.exists(older) else path

    def _row(self, where: str, row: dict[str, Any]) -> Row:
        label = row.get("label")
        if label not in (0, 1, None):
            raise VltkError(f"{where}: the label {label!r} is neither 0 nor 1")
        text, image = str(field(row, where, "text")).strip(), str(field(row, where, "img"))
        return Row(str(field(row, where, "id")), image, (text,), label)
