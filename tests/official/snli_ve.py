"""SNLI-VE in its official files: three photos of Flickr30k, one row without a label."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.official.photo import write_photo

LABELS = ("entailment", "neutral", "contradiction", "-")


def make(root: Path, id_key: str = "Flickr30K_ID", folder: str = "flickr30k_images") -> None:
    for split in ("train", "dev", "test"):
        rows = [
            {
                id_key: str(100 + at % 3), "gold_label": label, "sentence1": "A man runs.",
                "sentence2": f"Sentence {at}.", "pairID": f"{100 + at}.jpg#0r1e",
            }
            for at, label in enumerate(LABELS)
        ]  # fmt: skip
        write_lines(root / f"snli_ve_{split}.jsonl", rows)
    for image in (100, 101, 102):
        write_photo(root / folder / f"{image}.jpg", image)


def write_lines(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
