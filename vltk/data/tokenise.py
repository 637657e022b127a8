"""`vltk data tokens`: from documents to a data set of tokens, shard by shard; a run that was stopped goes on."""

from __future__ import annotations

import time
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from vltk.data.bar import Bar
from vltk.data.dataset import data_root, dataset_folder
from vltk.data.record import Rejected
from vltk.data.sources.documents import Document, Documents, StoredTexts, documents
from vltk.data.statuses import Status
from vltk.data.text import Tokenizer, load_tokenizer
from vltk.data.token_shards import TokenWriter, encoded
from vltk.data.token_work import Work, working
from vltk.data.tokenizer_file import HUB_NAME, download, find
from vltk.errors import VltkError
from vltk.log import say, warn

UNKNOWN = 0.05  # share of unknown tokens above which the vocabulary does not fit the text


def tokenise(
    source: str,
    name: str,
    tokenizer: str,
    *,
    max_length: int = 512,
    least: int = 4,
    shard_tokens: int = 1 << 27,
    replace: bool = False,
    **options: Any,
) -> dict[str, Any]:
    """Make the data set of tokens `name` of the documents of `source`; its manifest.

    `source` is a file or folder (`options`: see `Documents`) or a data set with texts; `tokenizer` as in a recipe, or
    a model of the hub. A sample has at most `max_length` ids with `[CLS]` and `[SEP]`; ends of documents with fewer
    than `least` ids are left out; a shard ends with the document that brings it to `shard_tokens` ids.
    Raises VltkError, Missing; what was finished before is kept, and the same call goes on behind it.
    """
    folder = _folder(name)
    if (folder / "manifest.json").exists() and not replace:
        raise VltkError(f"the data set {folder} exists already: delete it, give another name, or add --replace")
    if max_length < 4:
        raise VltkError(f"--max-length {max_length}: at least 4, as two are the start and the end of a text")
    words, given = bring(tokenizer), documents(source, **options)
    sizes = {"max_length": max_length, "least": least, "shard_tokens": shard_tokens}
    facts = {"source": {"kind": "tokens"} | given.facts | sizes, "tokenizer": words.digest, "stamp": given.stamp}
    try:
        with working(folder, facts) as work:
            _write(work, given, words)
            manifest = work.publish(folder, words)
    except OSError as error:  # a full disk
        raise VltkError(f"the data set {folder} could not be made: {error}") from error
    if manifest["unknown_tokens"] > UNKNOWN * manifest["tokens"]:
        share = manifest["unknown_tokens"] / manifest["tokens"]
        warn(f"{share:.0%} of the tokens are unknown: the vocabulary {words.vocab} does not fit this text")
    return manifest


def bring(tokenizer: str) -> Tokenizer:
    """The tokenizer of a path, of a path below the data root, or of a model of the hub, which may be downloaded."""
    place = find(tokenizer)
    if place is None and HUB_NAME.fullmatch(tokenizer) and not tokenizer.endswith((".txt", ".json")):
        place = download(tokenizer)
    return Tokenizer(place) if place else load_tokenizer(SimpleNamespace(vocab=tokenizer, max_length=77))


def _folder(name: str) -> Path:
    parts = Path(name).parts
    if not parts or Path(name).is_absolute() or ".." in parts:
        raise VltkError(f"{name!r} is no name of a data set: words and /, such as books/train, below {data_root()}")
    return dataset_folder(name)


def _write(work: Work, given: Documents | StoredTexts, words: Tokenizer) -> None:
    """The shards that `work` does not have yet."""
    done = work.rows
    if done:
        say(f"going on behind {done:,} documents, which are in {len(work.entries)} finished shards")
    shards = _Shards(work, words)
    try:
        with Bar(f"tokens of {work.facts['source']['source']}", given.total) as bar:
            for event in encoded(islice(given.read(), done, None), words):
                shards.take(event)
                if bar.due():
                    bar.show(given.done, shards.told())
        shards.finish()
    finally:
        shards.writer.abandon()


class _Shards:
    """Documents, sentences and rejected rows in; a new shard whenever one is full."""

    def __init__(self, work: Work, words: Tokenizer) -> None:
        self.work, self.words, self.begun = work, words, False
        self.started, self.made = time.monotonic(), 0
        self.writer = self._open(work.rows)

    def _open(self, first_row: int) -> TokenWriter:
        said = self.work.facts["source"]
        room, least = said["max_length"] - 2, said["least"]
        return TokenWriter(self.work.path, len(self.work.entries), first_row, self.words, room, least)

    def take(self, event: Document | Rejected | tuple[str, list[int]]) -> None:
        if isinstance(event, tuple):
            self.writer.sentence(*event)
            return
        self._end()
        if self.writer.counts["tokens"] >= self.work.facts["source"]["shard_tokens"]:
            self._close()
            self.writer = self._open(self.work.rows)
        if isinstance(event, Document):
            self.writer.begin(event)
            self.begun = True
            return
        if event.status == Status.unreadable_row:
            self.work.quarantine(event)
        self.writer.reject(event)

    def finish(self) -> None:
        self._end()
        if self.writer.next_row > self.writer.first_row or not self.work.entries:
            self._close()

    def told(self) -> str:
        """What was made so far, in words."""
        tokens = self.made + self.writer.counts["tokens"]
        rate = tokens / max(1e-9, time.monotonic() - self.started)
        return f"{self.writer.next_row:,} documents, {tokens:,} tokens, {rate:,.0f} tokens/s"

    def _end(self) -> None:
        if self.begun:
            self.writer.end()
        self.begun = False

    def _close(self) -> None:
        self.made += self.writer.counts["tokens"]
        self.work.add(self.writer.close())
