"""The WordPiece vocabulary of the grammar: every word it can write, and letters and digits for all other words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from string import ascii_lowercase, digits

from vltk.data.shapes import lexicon, phrases

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PUNCTUATION = ".,:;?!'\"()-"


def vocabulary() -> list[str]:
    """The tokens in order: specials, punctuation, letters and digits (first and following pieces), words A to Z."""
    letters = ascii_lowercase + digits
    pieces = [*PUNCTUATION, *letters, *(f"##{letter}" for letter in letters)]
    return [*SPECIALS, *pieces, *sorted(words() - set(letters))]


def words() -> set[str]:
    """Every word of the phrases and the lexicon, in lower case."""
    shapes = [*lexicon.SHAPES, *(word for shape in lexicon.SHAPES for word in lexicon.SYNONYMS.get(shape, ()))]
    names = (lexicon.COLORS, lexicon.SIZES, lexicon.TEXTURES, lexicon.TINTS, lexicon.NUMBERS)
    texts = [*_strings(vars(phrases)), *(name for group in names for name in group), *_strings(lexicon.SYNONYMS)]
    texts += ["a an and the", *shapes, *(lexicon.plural(shape) for shape in shapes)]
    return {word for text in texts for word in re.findall(r"[a-z]+", re.sub(r"\{\w+\}", " ", text.lower()))}


def _strings(value: object) -> Iterator[str]:
    """All strings in nested tuples and mappings, names and keys left out."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, part in value.items():
            if not str(key).startswith("_"):
                yield from _strings(part)
    elif isinstance(value, tuple):
        for part in value:
            yield from _strings(part)
