"""A WordPiece vocabulary learnt from the texts of data sets, written as a `vocab.txt`."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from tokenizers import BertWordPieceTokenizer

from vltk.data.dataset import Dataset, open_dataset
from vltk.data.text import SPECIAL
from vltk.errors import VltkError

MAX_CHARACTERS = 1000


def train_vocabulary(datasets: list[str], size: int, out: Path) -> int:
    """Learn at most `size` tokens (lower case) and write them, one a line; how many there are.

    The same texts give the same file. Raises Missing where a data set is absent.
    """
    opened = [open_dataset(name) for name in datasets]
    textless = [dataset.name for dataset in opened if not dataset.has_texts]
    if textless or not opened:
        raise VltkError(f"no texts to learn a vocabulary from in: {', '.join(textless) or 'no data set given'}")
    tokens = learn(_Texts(opened), size)
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(out.name + ".part")
    part.write_text("".join(f"{token}\n" for token in tokens), encoding="utf-8")
    os.replace(part, out)
    return len(tokens)


def learn(texts: Iterable[str], size: int) -> list[str]:
    """The tokens, special ones first; `texts` is iterated twice.

    Characters go in beforehand in a fixed order: the trainer's own order of them, and with it the choice among equally
    frequent pairs, changes from process to process.
    """
    tokenizer = BertWordPieceTokenizer(lowercase=True)
    words = _words(texts, tokenizer)
    counts: Counter[str] = Counter()
    for word, count in words.items():
        for character in word:
            counts[character] += count
    kept = {character for character, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:MAX_CHARACTERS]}
    inner = {character for word in words for character in word[1:]} & kept
    first = [*SPECIAL, *sorted(kept), *sorted(f"##{character}" for character in inner)]
    if size < len(first):
        raise VltkError(f"a vocabulary of {size} tokens is too small: these texts have {len(first)} characters alone")
    tokenizer.train_from_iterator(
        texts,
        vocab_size=size,
        show_progress=False,
        special_tokens=first,
        initial_alphabet=sorted(kept),
        limit_alphabet=len(kept),
    )
    vocab = tokenizer.get_vocab()
    return sorted(vocab, key=vocab.__getitem__)


def _words(texts: Iterable[str], tokenizer: BertWordPieceTokenizer) -> Counter[str]:
    words: Counter[str] = Counter()
    for text in texts:
        pieces = tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(text))
        words.update(word for word, _ in pieces)
    return words


class _Texts:
    """All texts of the data sets, as often as asked."""

    def __init__(self, datasets: list[Dataset]) -> None:
        self.datasets = datasets

    def __iter__(self) -> Iterator[str]:
        for dataset in self.datasets:
            for index in range(len(dataset)):
                yield from dataset.read(index).texts
