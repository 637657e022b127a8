"""Answers of VQA as its official evaluation compares them, and the vocabulary of the frequent ones.

Source: github.com/GT-Vision-Lab/VQA, vqaEval.py, its oddities included: a full stop stays only before a digit ("0.5"),
a comma between two digits makes every mark vanish without a space, and "somebody'd" loses its apostrophe.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

LEAST = 9  # questions of train and val with that as their first answer; makes 3,129 answers in MMF and Pythia
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
DIGITS = {"none": "0", **{word: str(number) for number, word in enumerate(NUMBERS)}}
ARTICLES = ("a", "an", "the")
MARKS = ';/[]"{}()=+\\_-><@`,?!'
FULL_STOP = re.compile(r"\.(?!\d)")
THOUSANDS = re.compile(r"\d,\d")
MOST_STOPS = 32  # that are taken out: the official call gives the flag re.UNICODE where the count stands
SHORT = """
ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd he'd've he's
how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've needn't not've o'clock
oughtn't shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd someone'd've
someone'll someone's something'd something'd've something'll that's there'd there'd've there're there's they'd they'd've
they'll they're they've wasn't we'd've we've weren't what'll what're what's what've when's where'd where's where've
who'd who'd've who'll who's who've why'll why're why's won't would've wouldn't wouldn't've y'all y'all'll you'd you'd've
you'll you're you've
"""


def _contractions() -> dict[str, str]:
    """What lost an apostrophe (one of two, where there are two), with it again."""
    found = {"twas": "'twas", "somebody'd": "somebodyd"}
    found |= dict.fromkeys(["ow's'at", "'ows'at", "'ow'sat"], "'ow's'at")
    found |= dict.fromkeys(["yall'd've", "y'alld've", "y'all'dve"], "y'all'd've")
    for word in SHORT.split():
        places = [place for place, letter in enumerate(word) if letter == "'"]
        found |= {word[:place] + word[place + 1 :]: word for place in places}
    return found


CONTRACTIONS = _contractions()


def normalise(answer: str) -> str:
    """The answer in the form in which it is compared with others: lower case, digits, no articles, no marks."""
    return _words(_unmarked(answer.replace("\n", " ").replace("\t", " ").strip()))


def vocabulary(answers: Iterable[str], least: int = LEAST) -> list[str]:
    """Of each question's first answer, normalised, those of `least` questions: most frequent first, then by name."""
    counts = Counter(normalise(answer) for answer in answers)
    frequent = [answer for answer, count in counts.items() if count >= least]
    return sorted(frequent, key=lambda answer: (-counts[answer], answer))


def _unmarked(text: str) -> str:
    """Marks that touch a space, or any where a comma stands between digits, vanish; others become a space."""
    thousands = THOUSANDS.search(text) is not None
    plain = text
    for mark in MARKS:
        touches = f"{mark} " in text or f" {mark}" in text
        plain = plain.replace(mark, "" if touches or thousands else " ")
    return FULL_STOP.sub("", plain, count=MOST_STOPS)


def _words(text: str) -> str:
    words = [DIGITS.get(word, word) for word in text.lower().split()]
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in ARTICLES)
