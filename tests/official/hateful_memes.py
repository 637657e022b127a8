"""Hateful Memes in its official files, four pictures."""

from __future__ import annotations

from pathlib import Path

from tests.official.photo import write_photo
from tests.official.snli_ve import write_lines

SPLITS = ("train", "dev_seen", "test_seen", "dev_unseen", "test_unseen")


def make(root: Path, splits: tuple[str, ...] = SPLITS) -> None:
    """`splits` are the names of the files."""
    for split in splits:
        rows: list[dict[str, object]] = [
            {"id": 42950 + at, "img": f"img/{42950 + at}.png", "label": at % 2, "text": f"look at {at}"}
            for at in range(4)
        ]
        if split == "test":  # of the first phase: without labels
            rows = [{key: value for key, value in row.items() if key != "label"} for row in rows]
        write_lines(root / f"{split}.jsonl", rows)
    for at in range(4):
        write_photo(root / "img" / f"{42950 + at}.png", at)
