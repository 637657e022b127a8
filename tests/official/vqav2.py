"""VQA v2 in its official files: two questions on each of three COCO photos, ten answers each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.official.photo import write_photo

IMAGES = (9, 25, 30)
ANSWERS = [["yes"] * 9 + ["no"], ["2"] * 6 + ["two"] * 3 + ["Two."]]
PARTS = {"train": "train2014", "val": "val2014"}


def make(root: Path) -> None:
    """Train and val below `root`, and the questions of test-dev without answers."""
    for part in PARTS.values():
        questions, annotations = content()
        write(root / f"v2_OpenEnded_mscoco_{part}_questions.json", {"info": {"questions": []}, "questions": questions})
        write(root / f"v2_mscoco_{part}_annotations.json", {"license": {"name": "CC"}, "annotations": annotations})
    write(root / "v2_OpenEnded_mscoco_test-dev2015_questions.json", {"questions": content()[0]})
    for part in (*PARTS.values(), "test2015"):
        for image in IMAGES:
            write_photo(root / part / f"COCO_{part}_{image:012d}.jpg", image)


def content() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Questions and annotations."""
    questions, annotations = [], []
    for image in IMAGES:
        for number, answers in enumerate(ANSWERS):
            key = {"image_id": image, "question_id": image * 1000 + number}
            questions.append({**key, "question": ["Is it day?", "How many are there?"][number]})
            given = [
                {"answer": answer, "answer_confidence": "yes", "answer_id": at} for at, answer in enumerate(answers, 1)
            ]
            kind = ["yes/no", "number"][number]
            annotations.append(
                {
                    **key,
                    "multiple_choice_answer": answers[0],
                    "answers": given,
                    "answer_type": kind,
                    "question_type": "",
                }
            )
    return questions, annotations


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
