"""Degenerate texts: repetition, echoes of the prompt, too few words, words that nobody knows."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from vltk.capfilt.rules._contract import GENERATED
from vltk.capfilt.schema import Gates

PHRASE = 3  # words


@dataclass(frozen=True)
class Looked:
    """What gates know of a text besides its words."""

    text: str
    source: str
    unknown: float | None = None  # share of its tokens
    finished: bool | None = None  # of a generated one
    copies: int = 1  # images for which the same text stands


def closed(one: Looked, gates: Gates, prompt: str = "") -> str | None:
    """Why the text is let through by none of its scores; None where it may pass.

    `prompt`: what the captioner's texts begin with, in words.
    """
    words = plain(one.text)
    generated = one.source == GENERATED
    if not words:
        return "gate empty: not a word"
    if gates.min_words is not None and len(words) < gates.min_words:
        return f"gate min_words: {len(words)} words, at least {gates.min_words}"
    if gates.max_words is not None and len(words) > gates.max_words:
        return f"gate max_words: {len(words)} words, at most {gates.max_words}"
    if gates.max_run is not None and (run := longest_run(words)) > gates.max_run:
        return f"gate max_run: a word {run} times in a row, at most {gates.max_run}"
    if gates.max_repeat is not None and (times := most_repeated(words)) > gates.max_repeat:
        return f"gate max_repeat: {PHRASE} words in a row {times} times, at most {gates.max_repeat}"
    if gates.max_unknown is not None and one.unknown is not None and one.unknown > gates.max_unknown:
        return f"gate max_unknown: {one.unknown:.0%} of its tokens unknown, at most {gates.max_unknown:.0%}"
    if gates.max_copies is not None and one.copies > gates.max_copies:
        return f"gate max_copies: the same text for {one.copies:,} images, at most {gates.max_copies:,}"
    if gates.echo and generated and prompt and _holds(words, plain(prompt)):
        return f"gate echo: says the prompt '{prompt}' again"
    if gates.unfinished and generated and one.finished is False:
        return "gate unfinished: cut at caption.max_length"
    return None


def plain(text: str) -> list[str]:
    """Its words in lower case, without punctuation at their ends."""
    words = (word.strip(".,;:!?\"'()[]*#~-").lower() for word in text.split())
    return [word for word in words if word]


def same(text: str) -> str:
    """Equal for texts that differ in case, blanks and punctuation only."""
    return " ".join(plain(text))


def longest_run(words: list[str]) -> int:
    """How often a word stands behind itself, at most."""
    longest = run = min(len(words), 1)
    for before, word in zip(words, words[1:], strict=False):
        run = run + 1 if word == before else 1
        longest = max(longest, run)
    return longest


def most_repeated(words: list[str], size: int = PHRASE) -> int:
    """How often the most frequent sequence of `size` words comes."""
    phrases = Counter(tuple(words[first : first + size]) for first in range(len(words) - size + 1))
    return max(phrases.values(), default=0)


def _holds(words: list[str], phrase: list[str]) -> bool:
    size = len(phrase)
    return any(words[first : first + size] == phrase for first in range(len(words) - size + 1))
