"""Text files, cut at sentence ends into samples of at most so many words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from vltk.data.record import Record, Rejected
from vltk.data.statuses import Status
from vltk.errors import VltkError

ENDINGS = {".txt", ".text", ".md", ".tokens"}
SENTENCE_END = re.compile(r"(?<=[.!?…])([\"'”’)\]]*)\s+")


class Texts:
    """`records()`: the files by name; samples of whole sentences, `max_words` at most, never across files.

    A sentence longer than that is cut between words. Fewer than `min_words` are left out, and lines that are not UTF-8.
    """

    def __init__(self, source: Path, *, max_words: int = 60, min_words: int = 3) -> None:
        self.source, self.max_words, self.min_words = source, max_words, min_words

    def records(self) -> Iterator[Record | Rejected]:
        for path in self._files():
            name = path.relative_to(self.source).as_posix() if self.source.is_dir() else path.name
            lines: list[str] = []
            for number, line in enumerate(path.read_bytes().splitlines(), 1):
                try:
                    lines.append(line.decode("utf-8-sig"))
                except UnicodeDecodeError:
                    yield Rejected(f"{name}:{number}", Status.unreadable_row, f"{name}, line {number}: not UTF-8")
            for number, text in enumerate(packed(sentences(lines), self.max_words)):
                key = f"{path.stem}_{number:07d}"
                if len(text.split()) < self.min_words:
                    yield Rejected(key, Status.filtered, f"fewer than {self.min_words} words: {text}")
                else:
                    yield Record(key, None, [text])

    def _files(self) -> list[Path]:
        if self.source.is_file():
            return [self.source]
        if not self.source.is_dir():
            raise VltkError(f"{self.source} is not there: give a text file, or a folder of text files")
        found = sorted(path for path in self.source.rglob("*") if path.suffix.lower() in ENDINGS and path.is_file())
        if not found:
            raise VltkError(f"{self.source}: no text files in it (looked for {', '.join(sorted(ENDINGS))})")
        return found


def sentences(lines: Iterable[str]) -> Iterator[str]:
    """Sentences of running text; an empty line ends a paragraph, and with it a sentence."""
    paragraph: list[str] = []
    for line in [*lines, ""]:
        if line.strip():
            paragraph.append(line.strip())
        elif paragraph:
            marked = SENTENCE_END.sub("\\1\n", " ".join(" ".join(paragraph).split()))
            yield from marked.split("\n")
            paragraph = []


def packed(parts: Iterable[str], max_words: int) -> Iterator[str]:
    """Sentences joined while they fit into `max_words` words."""
    held: list[str] = []
    for sentence in parts:
        words = sentence.split()
        if held and len(held) + len(words) > max_words:
            yield " ".join(held)
            held = []
        while len(words) > max_words:
            yield " ".join(words[:max_words])
            words = words[max_words:]
        held += words
    if held:
        yield " ".join(held)
