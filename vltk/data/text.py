"""Text to token ids: lower-casing BERT WordPiece over a `vocab.txt`, through the `tokenizers` library."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
from tokenizers import BertWordPieceTokenizer

from vltk.data.card import card_names, load_card
from vltk.data.dataset import data_root
from vltk.errors import Missing, VltkError

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
CACHED_TEXTS = 1 << 16


class TokenizerLike(Protocol):
    """What `load_tokenizer` needs of the recipe's `tokenizer` options."""

    @property
    def vocab(self) -> str: ...
    @property
    def max_length(self) -> int: ...


class Tokenizer:
    """`encode` gives ids `[CLS] ... [SEP]`, at most `max_length`, and for each the index of its word (-1: special)."""

    def __init__(self, vocab: Path, max_length: int = 77) -> None:
        self.vocab, self.max_length = vocab, max_length
        self.tokens = vocab.read_text(encoding="utf-8").rstrip("\n").split("\n")
        absent = [token for token in SPECIAL if token not in self.tokens]
        if absent:
            raise VltkError(f"{vocab}: no WordPiece vocabulary, one token a line: {', '.join(absent)} not in it")
        self._tokenizer = BertWordPieceTokenizer(str(vocab), lowercase=True)
        known = self._tokenizer.get_vocab_size()
        if known != len(self.tokens):
            raise VltkError(f"{vocab}: {len(self.tokens)} lines, but {known} tokens: does one stand there twice?")
        self.pad, self.unk, self.cls, self.sep, self.mask = (self.tokens.index(token) for token in SPECIAL)
        special = [self.pad, self.unk, self.cls, self.sep, self.mask]
        self.regular = np.setdiff1d(np.arange(self.size), special)  # ids a masked token may be replaced by
        self._encode = lru_cache(CACHED_TEXTS)(self._encode_now)

    @property
    def size(self) -> int:
        return len(self.tokens)

    def encode(self, text: str, max_length: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """`(T,)` int64 ids and `(T,)` int64 word indices, both read-only."""
        return self._encode(text, max_length or self.max_length)

    def _encode_now(self, text: str, max_length: int) -> tuple[np.ndarray, np.ndarray]:
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        room = max_length - 2
        ids = np.array([self.cls, *encoding.ids[:room], self.sep], dtype=np.int64)
        words = np.array([-1, *encoding.word_ids[:room], -1], dtype=np.int64)
        ids.setflags(write=False)
        words.setflags(write=False)
        return ids, words

    def decode(self, ids: Iterable[int]) -> str:
        """Readable text; padding, [CLS] and [SEP] are left out, [MASK] and [UNK] stay."""
        kept = [int(token) for token in ids if token not in (self.pad, self.cls, self.sep)]
        text: str = self._tokenizer.decode(kept, skip_special_tokens=False)
        return text


def load_tokenizer(options: TokenizerLike, run_folder: Path | None = None) -> Tokenizer:
    """The tokenizer of a run folder (its `vocab.txt`), or of `options.vocab`: a path, or a path below the data root."""
    places = [run_folder / "vocab.txt"] if run_folder else []
    places += [Path(options.vocab), data_root() / options.vocab]
    for place in places:
        if place.is_file():
            return Tokenizer(place, options.max_length)
    raise Missing(f"the vocabulary {options.vocab!r} is not on disk", vocabulary_steps(options.vocab))


def vocabulary_steps(vocab: str) -> list[tuple[str, str]]:
    """What to type so that the vocabulary is on disk."""
    name = vocab.partition("/")[0]
    if name in card_names() and load_card(name).kind == "shapes":
        return [(f"the vocabulary {vocab}: generated with the data set", f"vltk data fetch {name}")]
    make = f"vltk data vocab DATASET... --size 8000 --out {data_root() / vocab}"
    return [(f"the vocabulary {vocab}: learnt from data sets of yours, or a WordPiece vocab.txt put there", make)]
