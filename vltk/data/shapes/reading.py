"""Reading captions by the grammar that writes them: the phrases of `phrases.py`, turned round.

Words alone are read, no punctuation, and a caption may leave out the background. What no phrase gives is not read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from vltk.data.shapes import phrases
from vltk.data.shapes import statements as state
from vltk.data.shapes.lexicon import COLORS, NUMBERS, SHAPES, SIZES, SYNONYMS, TEXTURES, TINTS, plural
from vltk.data.shapes.scene import Backdrop, Scene
from vltk.data.shapes.statements import Statement

MOST = 5  # objects of a scene: a caption that speaks of more is not of the grammar


def judge(text: str, scene: Scene) -> dict[str, bool] | None:
    """Whether all that a caption says is true, by the kinds of statements.KINDS that it states.

    None where the caption is not of the grammar.
    """
    said = f"{_words(text)} "
    for form in FORMS:
        for pattern in form.patterns:
            if found := pattern.fullmatch(said):
                told = _Told({slot: words for slot, words in found.groupdict().items() if words})
                every = [*told.statements(), *form.states(told)]
                return state.judge(scene, len(told.looks), every) if len(told.looks) <= MOST else None
    return None


def _words(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))


def _named(names: Iterable[str]) -> dict[str, str]:
    """Every name and its synonyms -> the name."""
    return {word: name for name in names for word in (name, *SYNONYMS.get(name, ()))}


def _phrased(table: Mapping[Any, tuple[str, ...]]) -> dict[str, Any]:
    """Every phrase -> what it stands for."""
    return {_words(phrase): meaning for meaning, options in table.items() for phrase in options}


def _any(options: Iterable[str]) -> str:
    return f"(?:{'|'.join(sorted(options, key=len, reverse=True))})"


def _listed(item: str) -> str:
    """`a`, `a and b`, `a b and c`."""
    return f"{item}(?:(?: {item})* and {item})?"


_SHAPES = _named(SHAPES)
_SEVERAL = {plural(word): name for word, name in _SHAPES.items()}
_FIELDS = {  # of a look, in the order in which they are said; the medium size and the plain texture go unsaid
    "size": _named(size for size in SIZES if size != "medium"),
    "texture": _named(texture for texture in TEXTURES if texture != "plain"),
    "color": _named(COLORS),
    "shape": _SHAPES | _SEVERAL,
}
_COUNTS = {word: number for number, word in enumerate(NUMBERS)}
_NUMBERS = _COUNTS | {
    f"{word} {things[number != 1]}": number for word, number in _COUNTS.items() for things in phrases.THINGS
}
_OTHERS = {phrases.OTHERS[number > 1].format(number=word): number for word, number in _COUNTS.items()}
_RELATIONS, _PLACES, _ORDERS = (_phrased(table) for table in (phrases.RELATIONS, phrases.PLACES, phrases.ORDERS))
_GROUNDS = {
    phrase.format(tint=tint): Backdrop(kind, tint)
    for kind, options in phrases.GROUNDS.items()
    for phrase in options
    for tint in TINTS
}

_NAMED = "".join(f"(?:(?P<{field}>{_any(_FIELDS[field])}) )?" for field in ("size", "texture", "color"))
_LOOK = re.sub(r"\?P<\w+>", "?:", _NAMED) + _any(_SHAPES)
_ONE = f"(?:an (?=[aeiou])|a (?![aeiou])){_LOOK}"
_GROUP = f"{_any(NUMBERS[2:])} (?:{_any(_FIELDS['color'])} )?{_any(_SEVERAL)}"
_EVERY_LOOK = re.compile(rf"\b(?:(?P<count>{_any(_COUNTS)}) )?{_NAMED}(?P<shape>{_any(_FIELDS['shape'])})\b")
_SLOTS = dict.fromkeys(("a", "b", "c", *state.ENDS), _ONE) | {
    "name": _LOOK,
    "things": f"(?:{_listed(_ONE)}|{_LOOK}(?: {_LOOK})+)",
    "groups": _listed(f"(?:{_ONE}|{_GROUP})"),
    "colors": _listed(_any(_FIELDS["color"])),
    "number": _any(_NUMBERS),
    "others": _any(_OTHERS),
    "relation": _any(_RELATIONS),
    "place": _any(_PLACES),
    "order": _any(_ORDERS),
    "ground": _any(_GROUNDS),
}


class _Told:
    """What stands in the slots of a phrase: the objects in its order, and the number of the one in each slot."""

    def __init__(self, slots: Mapping[str, str]) -> None:
        self.slots = slots
        self.looks: list[dict[str, str]] = []
        self.number: dict[str, int] = {}
        for slot, words in slots.items():
            self.number[slot] = len(self.looks)
            for found in _EVERY_LOOK.finditer(words):
                said = {field: names[found[field]] for field, names in _FIELDS.items() if found[field]}
                self.looks += [said] * _COUNTS.get(found["count"], 1)

    def statements(self) -> Iterator[Statement]:
        """What each slot says by itself."""
        for number, look in enumerate(self.looks):
            yield from (state.has(number, field, value) for field, value in look.items())
        for slot, words in self.slots.items():
            if slot in _SAYS:
                yield _SAYS[slot](self, words)

    def all_of_them(self) -> Statement:
        """That nothing else is there."""
        return state.counts(len(self.looks))


_SAYS: dict[str, Callable[[_Told, str], Statement]] = {
    "number": lambda told, words: state.counts(_NUMBERS[words]),
    "others": lambda told, words: state.counts(1 + _OTHERS[words]),
    "things": lambda told, words: told.all_of_them(),
    "groups": lambda told, words: told.all_of_them(),
    "colors": lambda told, words: state.colored([_FIELDS["color"][word] for word in words.split() if word != "and"]),
    "relation": lambda told, words: state.lies(_RELATIONS[words], told.number["a"], told.number["b"]),
    "place": lambda told, words: state.is_at(0, *_PLACES[words]),
    "order": lambda told, words: state.are_ordered(_ORDERS[words], len(told.looks)),
    "ground": lambda told, words: state.before(_GROUNDS[words]),
}


@dataclass(frozen=True)
class _Form:
    """Phrases, and what they say by themselves, whatever stands in their slots."""

    texts: tuple[str, ...]
    states: Callable[[_Told], list[Statement]] = lambda told: []

    @cached_property
    def patterns(self) -> list[re.Pattern[str]]:
        return [re.compile("".join(map(_pattern, re.findall(r"\{\w+\}|[^{}]+", text)))) for text in self.texts]


def _pattern(piece: str) -> str:
    """Of a slot or of the words between two, with a space behind each word."""
    if not piece.startswith("{"):
        return "".join(f"{word} " for word in _words(piece).split())
    name = piece[1:-1]
    return f"(?:(?P<{name}>{_SLOTS[name]}) )" + ("?" if name == "ground" else "")


FORMS = (
    _Form((*phrases.FULL_ONE, *phrases.SINGLE, *phrases.FULL_TWO), lambda told: [told.all_of_them()]),
    _Form((*phrases.FULL_MANY, *phrases.GROUPED, *phrases.RELATED, *phrases.PLACED)),
    _Form(phrases.BETWEEN, lambda told: [state.is_between(*(told.number[slot] for slot in "abc"))]),
    _Form(phrases.LARGEST, lambda told: [state.is_largest(0)]),
    _Form(
        phrases.EXTREMES,
        lambda told: [state.is_outermost(slot, told.number[slot]) for slot in state.ENDS if slot in told.slots],
    ),
    _Form((*phrases.COLORS_ONLY, *phrases.ONE_COLOR)),
)
