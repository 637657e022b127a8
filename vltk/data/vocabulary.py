"""Tokenizers learnt from texts: a WordPiece vocabulary (`vocab.txt`), or WordPiece or BPE as a `tokenizer.json`."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from tokenizers import BertWordPieceTokenizer, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from vltk.data.bar import Bar
from vltk.data.dataset import Dataset, open_dataset
from vltk.data.record import Rejected
from vltk.data.sources.documents import Documents, StoredTexts, documents
from vltk.data.tokenizer_file import SPECIAL
from vltk.errors import VltkError

Kind = Literal["wordpiece", "bpe"]
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
    _write(out, "".join(f"{token}\n" for token in tokens))
    return len(tokens)


def train_tokenizer(sources: list[str], kind: Kind, size: int, out: Path, cased: bool = False, **options: Any) -> int:
    """Learn a tokenizer of at most `size` tokens from data sets with texts, or from documents; how many there are.

    `out` ends in `.json` (a `tokenizer.json`, which every user of the tokenizers library reads) or, for lower-case
    WordPiece, in `.txt` (a `vocab.txt`). `options`: see `Documents`. The same texts give the same file.
    """
    if out.suffix != ".json" and (out.suffix != ".txt" or kind != "wordpiece" or cased):
        can = "holds lower-case WordPiece and nothing else" if out.suffix == ".txt" else "is neither .json nor .txt"
        raise VltkError(f"--out {out}: {out.suffix or 'a name without ending'} {can}; take {out.with_suffix('.json')}")
    texts = _Sentences([documents(source, **options) for source in sources])
    if kind == "bpe":
        learnt = _bpe(texts, size, cased)
    else:
        tokens = learn(texts, size, cased)
        vocab = {token: number for number, token in enumerate(tokens)}
        learnt = _wordpiece(vocab, cased)._tokenizer
    count: int = learnt.get_vocab_size()
    if count <= len(SPECIAL):
        raise VltkError(f"no texts to learn a tokenizer from in {', '.join(sources)}")
    by_id = sorted(learnt.get_vocab().items(), key=lambda item: item[1])
    _write(out, learnt.to_str(pretty=True) if out.suffix == ".json" else "".join(f"{token}\n" for token, _ in by_id))
    return count


def learn(texts: Iterable[str], size: int, cased: bool = False) -> list[str]:
    """The WordPiece tokens, special ones first; `texts` is iterated twice.

    Characters go in beforehand in a fixed order: the trainer's own order of them, and with it the choice among equally
    frequent pairs, changes from process to process.
    """
    tokenizer = _wordpiece(None, cased)
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


def _wordpiece(vocab: dict[str, int] | None, cased: bool) -> BertWordPieceTokenizer:
    return BertWordPieceTokenizer(vocab, lowercase=not cased)  # accents go where capital letters do


def _bpe(texts: Iterable[str], size: int, cased: bool) -> Tokenizer:
    """BPE on bytes, as GPT-2's: it knows every character. A blank before the first word too, so that words look alike
    wherever they stand."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    if size < len(SPECIAL) + len(alphabet):
        raise VltkError(f"a BPE of {size} tokens is too small: bytes and special tokens are {len(SPECIAL) + 256}")
    tokenizer = Tokenizer(models.BPE())
    forms = [normalizers.NFC(), *([] if cased else [normalizers.Lowercase()])]
    tokenizer.normalizer = normalizers.Sequence(forms)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _words(texts: Iterable[str], tokenizer: BertWordPieceTokenizer) -> Counter[str]:
    words: Counter[str] = Counter()
    for text in texts:
        pieces = tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(text))
        words.update(word for word, _ in pieces)
    return words


def _write(out: Path, text: str) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(out.name + ".part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, out)


class _Texts:
    """All texts of the data sets, as often as asked."""

    def __init__(self, datasets: list[Dataset]) -> None:
        self.datasets = datasets

    def __iter__(self) -> Iterator[str]:
        done = 0
        with Bar("reading texts", sum(map(len, self.datasets))) as bar:
            for dataset in self.datasets:
                for index in range(len(dataset)):
                    yield from dataset.read(index).texts
                    done += 1
                    if bar.due():
                        bar.show(done, f"{done:,} samples, {bar.rate(done)}")


class _Sentences:
    """All sentences of the documents, as often as asked."""

    def __init__(self, given: list[Documents | StoredTexts]) -> None:
        self.given = given

    def __iter__(self) -> Iterator[str]:
        alike = len({type(source) for source in self.given}) == 1  # bytes and samples do not add up
        total, before, count = sum(source.total for source in self.given), 0, 0
        with Bar("reading texts", total if alike else None) as bar:
            for source in self.given:
                for document in source.read():
                    for sentence in () if isinstance(document, Rejected) else document.sentences:
                        yield sentence
                        count += 1
                        if bar.due():
                            bar.show(before + source.done, f"{count:,} sentences, {bar.rate(count)}")
                before += source.total
