"""The tokenizer: BERT's WordPiece, words known, no silent fallback to a vocabulary of special tokens."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from vltk.data.text import SPECIAL, Tokenizer, load_tokenizer
from vltk.errors import Missing, VltkError


def test_encode(tokenizer: Tokenizer) -> None:
    ids, words = tokenizer.encode("The  DOG played, playing.")
    tokens = [tokenizer.tokens[index] for index in ids]
    assert tokens == ["[CLS]", "the", "dog", "play", "##ed", "[UNK]", "play", "##ing", ".", "[SEP]"]
    assert words.tolist() == [-1, 0, 1, 2, 2, 3, 4, 4, 5, -1]
    assert tokenizer.decode([*ids, tokenizer.pad, tokenizer.mask]) == "the dog played [UNK] playing. [MASK]"
    with pytest.raises(ValueError, match="read-only"):
        ids[0] = 1


def test_length(tokenizer: Tokenizer) -> None:
    long = "dog " * 50
    assert len(tokenizer.encode(long)[0]) == 16 and len(tokenizer.encode(long, 6)[0]) == 6
    assert tokenizer.encode(long, 6)[0][-1] == tokenizer.sep and len(tokenizer.encode("")[0]) == 2


def test_size_is_the_file(tmp_path: Path, tokenizer: Tokenizer) -> None:
    assert tokenizer.size == len(SPECIAL) + 23 and len(tokenizer.regular) == 23
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join([*SPECIAL, "dog", "dog"]))
    with pytest.raises(VltkError, match="7 lines, but 6 tokens"):
        Tokenizer(path)
    path.write_text("dog\ncat\n")
    with pytest.raises(VltkError, match=r"no WordPiece vocabulary.*\[PAD\], \[UNK\]"):
        Tokenizer(path)


def test_where_it_is_found(tmp_path: Path, root: Path, tokenizer: Tokenizer) -> None:
    words = tokenizer.vocab.read_text()
    options = SimpleNamespace(vocab="x/vocab.txt", max_length=9)
    with pytest.raises(Missing, match="vltk data vocab DATASET"):
        load_tokenizer(options)
    with pytest.raises(Missing, match="vltk data fetch shapes"):
        load_tokenizer(SimpleNamespace(vocab="shapes/vocab.txt", max_length=9))
    (root / "x").mkdir(parents=True)
    (root / "x/vocab.txt").write_text(words)
    assert load_tokenizer(options).vocab == root / "x/vocab.txt" and load_tokenizer(options).max_length == 9
    run = tmp_path / "run"
    run.mkdir()
    (run / "vocab.txt").write_text(words)
    assert load_tokenizer(options, run).vocab == run / "vocab.txt"
    assert load_tokenizer(SimpleNamespace(vocab=str(run / "vocab.txt"), max_length=9)).size == tokenizer.size
