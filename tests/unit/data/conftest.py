"""Small data sets and a vocabulary, made on the spot below a data root of the test's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.data.samples import WORDS, caption, picture
from vltk.data.dataset import Dataset, open_dataset
from vltk.data.shard import Record, Rejected, write_dataset
from vltk.data.text import SPECIAL, Tokenizer


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VLTK_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def make(root: Path) -> Callable[..., Dataset]:
    """`make(name, count, bad=...)`: pairs with three captions each; samples in `bad` have bytes that do not decode."""

    def made(name: str = "pairs", count: int = 20, bad: tuple[int, ...] = (), texts: int = 3) -> Dataset:
        records: list[Record | Rejected] = [
            Record(
                f"k{index}",
                b"\xff\xd8\xffnope" if index in bad else picture(index),
                [f"{caption(10 * index + turn)} {turn}" for turn in range(texts)],
            )
            for index in range(count)
        ]
        write_dataset(root / name, records, source={}, samples_per_shard=7)
        return open_dataset(name)

    return made


@pytest.fixture
def tokenizer(tmp_path: Path) -> Tokenizer:
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join([*SPECIAL, *WORDS, "0", "1", "2", "play", "##ing", "##ed", "."]) + "\n")
    return Tokenizer(path, 16)
