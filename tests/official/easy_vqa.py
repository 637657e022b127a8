"""easy-VQA in its official files: three pictures, two questions each."""

from __future__ import annotations

from pathlib import Path

from tests.official.photo import write_photo
from tests.official.vqav2 import write


def make(root: Path) -> None:
    root.mkdir(parents=True, exist_ok=True)
    (root / "answers.txt").write_text("yes\nno\ncircle\nred", encoding="utf-8")
    for split in ("train", "test"):
        rows = [[["what is the shape?", "circle", image], ["is it red?", "no", image]] for image in range(3)]
        write(root / split / "questions.json", [row for pair in rows for row in pair])
        for image in range(3):
            write_photo(root / split / "images" / f"{image}.png", image)
