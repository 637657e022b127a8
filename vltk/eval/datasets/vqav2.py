"""VQA v2 (Goyal et al. 2017): open questions on COCO photos, ten people's answers to each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from sys import intern
from typing import Any, Literal

from vltk.errors import Missing, VltkError
from vltk.eval.datasets._counts import counts_of, require_count, require_split
from vltk.eval.datasets._files import Files
from vltk.eval.datasets._json import entries, field
from vltk.eval.datasets._rows import Row, Rows
from vltk.eval.datasets._vqa_answers import LEAST, vocabulary

PARTS = {"train": "train2014", "val": "val2014", "test-dev": "test-dev2015", "test": "test2015"}
IMAGES = {**PARTS, "test-dev": "test2015"}
ANNOTATED = ("train", "val")
TEST_FILES = "bring v2_Questions_Test_mscoco.zip of visualqa.org and test2015.zip of cocodataset.org, 13 GB, by hand"
ANSWERS = 10  # to a question


class Vqav2:
    """`texts` is the question, `facts`: `question_id`, and where there are annotations `answers` (10 as given),
    `answer` (the most common one) and `answer_type` (yes/no, number, other).

    `classes` is the vocabulary: normalised answers that are the most common one of at least `least` questions of
    `vocabulary`. A sample has no one label: its score is by the ten answers.
    """

    def __init__(
        self,
        files: Files,
        *,
        least: int = LEAST,
        vocabulary: Literal["train", "train+val"] = "train+val",
        nonstandard: bool = False,
    ) -> None:
        self.files, self.least, self.nonstandard = files, least, nonstandard
        self.vocabulary_of = vocabulary.split("+")
        self.splits = tuple(PARTS)
        self.counts = counts_of("vqav2")

    @cached_property
    def classes(self) -> list[str]:
        """Raises VltkError where no answer is frequent enough."""
        self.files.require(*(_annotations(part) for part in self.vocabulary_of))
        given = (
            str(field(one, part, "multiple_choice_answer"))
            for part in self.vocabulary_of
            for one in self._annotated(part)
        )
        found = vocabulary(given, self.least)
        if not found:
            raise VltkError(f"vqav2: no answer is that of {self.least} questions; the vocabulary would be empty")
        return found

    def split(self, name: str) -> Rows:
        """Raises VltkError for an unknown split, questions and annotations that differ, another count."""
        require_split("vqav2", name, self.splits)
        if name not in ANNOTATED and not self.files.exists(_questions(name)):
            raise Missing(f"vqav2 {name}: absent in {self.files.root}:", [(_questions(name), TEST_FILES)])
        self.files.require(_questions(name), *([_annotations(name)] if name in ANNOTATED else []))
        annotated = {one["question_id"]: one for one in self._facts(name)} if name in ANNOTATED else None
        rows = [self._row(name, one, annotated) for one in entries(self.files, _questions(name), "questions")]
        if annotated:
            raise VltkError(
                f"vqav2 {name}: {len(annotated):,} annotations without a question, the first {next(iter(annotated))}"
            )
        require_count("vqav2", name, len(rows), self.nonstandard)
        return Rows("vqav2", name, self.files, rows)

    def _row(self, split: str, question: dict[str, Any], annotated: dict[int, Mapping[str, Any]] | None) -> Row:
        """Takes its annotation out of `annotated`."""
        where = f"vqav2 {split}, question {question.get('question_id')}"
        number, image = int(field(question, where, "question_id")), int(field(question, where, "image_id"))
        facts: Mapping[str, Any] = {"question_id": number}
        if annotated is not None:
            if number not in annotated:
                raise VltkError(f"{where}: no annotation")
            facts = annotated.pop(number)
            if facts["image_id"] != image:
                raise VltkError(f"{where} is on image {image}, its annotation on {facts['image_id']}")
        part = IMAGES[split]
        return Row(
            str(number), f"{part}/COCO_{part}_{image:012d}.jpg", (str(field(question, where, "question")),), facts=facts
        )

    def _facts(self, split: str) -> Iterator[Mapping[str, Any]]:
        for one in self._annotated(split):
            where = f"vqav2 {split}, annotation {one.get('question_id')}"
            answers = tuple(intern(str(field(given, where, "answer"))) for given in field(one, where, "answers"))
            if len(answers) != ANSWERS and not self.nonstandard:
                raise VltkError(f"{where}: {len(answers)} answers, not {ANSWERS}")
            yield {
                "question_id": int(field(one, where, "question_id")),
                "image_id": int(field(one, where, "image_id")),
                "answers": answers,
                "answer": intern(str(field(one, where, "multiple_choice_answer"))),
                "answer_type": intern(str(one.get("answer_type", "other"))),
            }

    def _annotated(self, split: str) -> Iterator[dict[str, Any]]:
        return entries(self.files, _annotations(split), "annotations")


def _questions(split: str) -> str:
    return f"v2_OpenEnded_mscoco_{PARTS[split]}_questions.json"


def _annotations(split: str) -> str:
    return f"v2_mscoco_{PARTS[split]}_annotations.json"
