"""easy-VQA (Zhou 2019): generated questions on pictures of one shape, 13 answers."""

from __future__ import annotations

import json
from typing import Any

from vltk.errors import VltkError
from vltk.eval.datasets._counts import counts_of, require_count, require_split
from vltk.eval.datasets._files import Files
from vltk.eval.datasets._rows import Row, Rows


class EasyVqa:
    """`texts` is the question, the label the number of its answer in `answers.txt`."""

    splits = ("train", "test")

    def __init__(self, files: Files, *, nonstandard: bool = False) -> None:
        self.files, self.nonstandard = files, nonstandard
        self.counts = counts_of("easy_vqa")

    @property
    def classes(self) -> list[str]:
        """Raises Missing."""
        return self.files.read("answers.txt").decode("utf-8-sig").split()

    def split(self, name: str) -> Rows:
        """Raises VltkError for an unknown split, a file that is cut short, unknown answers, another count."""
        require_split("easy_vqa", name, self.splits)
        path = f"{name}/questions.json"
        where, numbers = self.files.where(path), {answer: number for number, answer in enumerate(self.classes)}
        try:
            questions = json.loads(self.files.read(path))
        except ValueError as error:
            raise VltkError(f"{where} is cut short or damaged: {error}") from None
        rows = [self._row(f"{where}, question {at}", at, name, one, numbers) for at, one in enumerate(questions)]
        require_count("easy_vqa", name, len(rows), self.nonstandard)
        return Rows("easy_vqa", name, self.files, rows)

    def _row(self, where: str, at: int, split: str, entry: Any, numbers: dict[str, int]) -> Row:
        if not isinstance(entry, list) or len(entry) != 3:
            raise VltkError(f"{where}: a list of question, answer and image expected")
        question, answer, image = entry
        if answer not in numbers:
            raise VltkError(f"{where}: the answer {answer!r} is not in answers.txt")
        return Row(str(at), f"{split}/images/{image}.png", (question,), numbers[answer], {"answer": answer})
