"""Text to token ids through the `tokenizers` library: BERT's WordPiece over a `vocab.txt`, or any `tokenizer.json`."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np

from vltk.data.card import card_names, load_card
from vltk.data.dataset import data_root
from vltk.data.tokenizer_file import NAMES, SPECIAL, digest_of, find, is_json, read, roles_of, tokens_of, word_marks
from vltk.errors import Missing, VltkError
from vltk.whole import whole

__all__ = ["SPECIAL", "Tokenizer", "TokenizerLike", "load_tokenizer", "vocabulary_steps"]

CACHED_TEXTS = 1 << 16


class TokenizerLike(Protocol):
    """What `load_tokenizer` needs of the recipe's `tokenizer` options."""

    @property
    def vocab(self) -> str: ...
    @property
    def max_length(self) -> int: ...


class Tokenizer:
    """`encode` gives ids `[CLS] ... [SEP]`, at most `max_length`, and for each the index of its word (-1: special).

    A tokenizer without a padding token pads with its end token, as CLIP's does: lengths say where a text ends.
    """

    def __init__(self, vocab: Path, max_length: int = 77) -> None:
        self.vocab, self.max_length = vocab, max_length
        self._backend = read(vocab)
        self.tokens = tokens_of(self._backend, vocab)
        self.roles = roles_of(self._backend, vocab)
        self.cls, self.sep = self.roles["cls"], self.roles["sep"]
        self.pad, self.unk = self.roles.get("pad", self.sep), self.roles.get("unk")
        added = [number for number, token in self._backend.get_added_tokens_decoder().items() if token.special]
        self.special = np.array(sorted({*added, *self.roles.values()}))
        self.regular = np.setdiff1d(np.arange(self.size), self.special)  # ids a masked token may be replaced by
        self._begins, self._ends = word_marks(self._backend, self.tokens)
        self._encode = lru_cache(CACHED_TEXTS)(self._encode_now)

    @property
    def size(self) -> int:
        return len(self.tokens)

    @property
    def mask(self) -> int:
        """The id of the mask token. Raises VltkError where the tokenizer has none."""
        if "mask" not in self.roles:
            raise VltkError(f"{self.vocab}: no token [MASK] or <mask>, by which masked language modelling hides words")
        return self.roles["mask"]

    @cached_property
    def digest(self) -> str:
        """sha256 of what decides the ids, the same for every file that says the same."""
        return digest_of(self._backend, self.roles)

    def encode(self, text: str, max_length: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """`(T,)` int64 ids and `(T,)` int64 word indices, both read-only."""
        return self._encode(text, max_length or self.max_length)

    def _encode_now(self, text: str, max_length: int) -> tuple[np.ndarray, np.ndarray]:
        encoding = self._backend.encode(text, add_special_tokens=False)
        ids = np.array([self.cls, *encoding.ids[: max_length - 2], self.sep], dtype=np.int64)
        words = self.words_of(ids)
        ids.setflags(write=False)
        words.setflags(write=False)
        return ids, words

    def encode_parts(self, parts: list[str]) -> list[list[int]]:
        """The bare ids of each part of a running text: as behind a blank, without special tokens, of any length."""
        encodings = self._backend.encode_batch_fast([f" {part}" for part in parts], add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def words_of(self, ids: np.ndarray) -> np.ndarray:
        """`(T,)` int64, the word that each token of `[CLS] ... [SEP]` belongs to, from 0, and -1 at both ends."""
        words = np.full(len(ids), -1, dtype=np.int64)
        words[1:-1] = np.cumsum(self.word_starts(ids[1:-1])) - 1
        return words

    def word_starts(self, ids: np.ndarray) -> np.ndarray:
        """`(T,)` bool, where a word begins in bare ids; the first token always begins one."""
        starts: np.ndarray = self._begins[ids]
        starts[1:] |= self._ends[ids[:-1]]
        starts[:1] = True
        return starts

    def decode(self, ids: Iterable[int]) -> str:
        """Readable text; padding, [CLS] and [SEP] are left out, [MASK] and [UNK] stay."""
        kept = [int(token) for token in ids if token not in (self.pad, self.cls, self.sep)]
        text: str = self._backend.decode(kept, skip_special_tokens=False)
        return text

    def copy_to(self, folder: Path) -> Path:
        """A copy of its file in `folder`, called `tokenizer.json` or `vocab.txt` by what it is."""
        copy = folder / (NAMES[0] if is_json(self.vocab) else NAMES[1])
        with whole(copy) as part:
            shutil.copyfile(self.vocab, part)
        return copy


def load_tokenizer(options: TokenizerLike, run_folder: Path | None = None) -> Tokenizer:
    """The tokenizer that a run folder keeps, or that of `options.vocab`.

    That is a `vocab.txt`, a `tokenizer.json` or a folder with one, by its path or by its path below the data root; or
    the name of a model whose tokenizer is in the hub's cache. Raises Missing with what to type.
    """
    if run_folder is not None and (kept := [run_folder / name for name in NAMES if (run_folder / name).is_file()]):
        return Tokenizer(kept[0], options.max_length)
    place = find(options.vocab)
    if place is None:
        raise Missing(f"the vocabulary {options.vocab!r} is not on disk", vocabulary_steps(options.vocab))
    return Tokenizer(place, options.max_length)


def vocabulary_steps(vocab: str) -> list[tuple[str, str]]:
    """What to type so that the vocabulary is on disk."""
    name = vocab.partition("/")[0]
    if name in card_names() and load_card(name).kind == "shapes":
        return [(f"the vocabulary {vocab}: generated with the data set", f"vltk data fetch {name}")]
    if vocab.endswith(".txt"):
        make = f"vltk data vocab DATASET... --size 8000 --out {data_root() / vocab}"
        return [(f"the vocabulary {vocab}: learnt from data sets of yours, or a WordPiece vocab.txt put there", make)]
    if vocab.endswith(".json"):
        make = f"vltk data tokenizer DATASET... --kind bpe --size 8000 --out {data_root() / vocab}"
        return [(f"the tokenizer {vocab}: learnt from data sets of yours, or a tokenizer.json put there", make)]
    bring = f"hf download {vocab} tokenizer.json --local-dir {data_root() / vocab}"
    return [(f"the tokenizer {vocab}: a folder with tokenizer.json or vocab.txt, or a model of the hub", bring)]
