"""Which texts of an image stay: each rule and each gate on texts whose answer is known."""

from __future__ import annotations

from typing import Any

import pytest

from vltk import parts
from vltk.capfilt.gates import Looked, closed
from vltk.capfilt.rules._contract import Scored
from vltk.capfilt.schema import RULES, Gates
from vltk.capfilt.score import normalised
from vltk.errors import RecipeError, VltkError

TEXTS = [
    Scored("web", 0.50, 0.10, None),
    Scored("web", 0.49, 0.40, None),
    Scored("generated", 0.90, 0.30, -1.0),
    Scored("generated", 0.95, 0.40, -0.5),
]


def kept(name: str, texts: list[Scored] = TEXTS, values: Any = None, **options: Any) -> list[bool]:
    rule = parts.choose(RULES, name, **options).build()
    return [stays for stays, _ in rule.fit(values or {})(texts)]


@pytest.mark.parametrize(
    ("name", "options", "wanted"),
    [
        ("itm", {}, [True, False, True, True]),  # at the threshold it stays, as in BLIP
        ("itm", {"threshold": {"web": 0.6, "generated": 0.92}}, [False, False, False, True]),
        ("topk", {}, [False, True, False, True]),
        ("topk", {"k": 1}, [False, True, False, False]),  # of equal ones the first
        ("topk", {"k": 3, "by": "itm"}, [True, False, True, True]),
        ("best", {}, [True, False, False, True]),
        ("best", {"by": "itc", "threshold": 0.41}, [False, False, False, False]),
        ("all", {}, [True] * 4),
    ],
    ids=str,
)
def test_rules(name: str, options: dict[str, Any], wanted: list[bool]) -> None:
    assert kept(name, **options) == wanted


def test_a_percentile_is_of_the_whole_job() -> None:
    values = {"web": [0.1, 0.2, 0.3, 0.5], "generated": [0.6, 0.7, 0.9, 0.95]}
    assert kept("percentile", values=values, keep=0.25) == [True, False, False, True]
    assert kept("percentile", values=values, keep={"web": 0, "generated": 1}) == [False, False, True, True]


def test_reasons_say_what_decided() -> None:
    (_, low), (_, high) = parts.choose(RULES, "itm").build().fit({})([TEXTS[1], TEXTS[2]])
    assert (low, high) == ("itm 0.490 < 0.5", "itm 0.900 >= 0.5")


def test_mistakes() -> None:
    with pytest.raises(RecipeError, match="threshold: nothing is said of generated"):
        parts.choose(RULES, "itm", threshold={"web": 0.5}).build()
    with pytest.raises(RecipeError, match="threshold: no source human"):
        parts.choose(RULES, "itm", threshold={"web": 0.5, "generated": 0.5, "human": 1}).build()
    with pytest.raises(VltkError, match="a web text has no score logprob"):
        kept("topk", by="logprob")


@pytest.mark.parametrize(
    ("text", "gate"),
    [
        ("a red ball on a table", None),
        ("ball", "min_words"),
        (" . ", "empty"),
        ("a very very very red ball", "max_run"),
        ("a man in a hat with a man in a hat and a man in a hat", "max_repeat"),
        ("a picture of a dog", "echo"),
        ("a b c d e f g h i j k", "max_words"),
    ],
)
def test_gates(text: str, gate: str | None) -> None:
    found = closed(Looked(text, "generated"), Gates(max_words=20 if gate != "max_words" else 10), "a picture of")
    assert (found or "").startswith(f"gate {gate}:" if gate else "") and (found is None) == (gate is None)


def test_gates_for_what_is_known_of_a_text() -> None:
    assert (
        closed(Looked("a b c", "web", unknown=0.6), Gates())
        == "gate max_unknown: 60% of its tokens unknown, at most 50%"
    )
    assert closed(Looked("a b c", "web", copies=9), Gates(max_copies=8), "") is not None
    assert closed(Looked("a b c", "generated", finished=False), Gates()) == "gate unfinished: cut at caption.max_length"
    assert (
        closed(Looked("a picture of it", "web", finished=None), Gates(), "a picture of") is None
    )  # only generated echo
    closing = {"min_words": None, "max_run": None, "max_repeat": None, "max_unknown": None, "echo": False}
    assert closed(Looked("x x x x", "generated", 1.0, True), Gates(**closing)) is None


def test_normalised_as_blip_reads_captions() -> None:
    assert normalised('  A "Man"(left): riding.  a HORSE! ', 30) == "a man left riding a horse"
    assert normalised("one two three four", 3) == "one two three"
