"""Small data sets of tokens, and where real text lies: `$VLTK_TEST_DATA` with `bert-vocab.txt` and `text/`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.unit.data.samples import caption
from vltk.data.dataset import Dataset, open_dataset
from vltk.data.text import Tokenizer
from vltk.data.tokenise import tokenise
from vltk.data.tokens import TokenDataset

REAL = Path(os.environ.get("VLTK_TEST_DATA") or "not-set")
BERT, TEXT = REAL / "bert-vocab.txt", REAL / "text"
needs_real_text = pytest.mark.skipif(
    not (BERT.exists() and TEXT.exists()),
    reason="needs real text and BERT's vocabulary: $VLTK_TEST_DATA names no folder with text/ and bert-vocab.txt",
)
DOCUMENTS = 12


def sentences(document: int) -> list[str]:
    return [
        f"{caption(100 * document + number, 2 + (document + number) % 5)} .".capitalize()
        for number in range(3 + document)
    ]


@pytest.fixture(name="source")
def documents_on_disk(tmp_path: Path) -> Path:
    """Documents of 3 to 14 sentences of 3 to 7 tokens each."""
    path = tmp_path / "docs.jsonl"
    rows = [{"text": " ".join(sentences(number)), "url": f"http://x/{number}"} for number in range(DOCUMENTS)]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def made(source: Path, tokenizer: Tokenizer, name: str = "t", **options: Any) -> Any:
    tokenise(str(source), name, str(tokenizer.vocab), **{"max_length": 16, "least": 1, **options})
    found = open_dataset(name)
    assert isinstance(found, TokenDataset)
    return found


def texts_of(dataset: Dataset) -> list[str]:
    return [dataset.read(index).texts[0] for index in range(len(dataset))]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
