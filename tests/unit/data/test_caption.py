"""Captions: whatever the bytes, clean text comes out and nothing is lost."""

from __future__ import annotations

import pytest

from vltk.data.caption import decoded, normalise


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("a dog", "a dog"),
        ("", ""),
        (" \t\r\n ", ""),
        ("a\tdog\r\nruns\x00 \x07fast ", "a dog runs fast"),
        ("a\u2028dog\u00a0\u3000runs\x85", "a dog runs"),
        ("\ufeffa dog", "a dog"),
        ("cafe\u0301", "café"),
        ('"an unclosed quote', '"an unclosed quote'),
        ("👩‍🚀 ünï 日本", "👩‍🚀 ünï 日本"),
        (b"a dog", "a dog"),
        ("ünï 日本".encode(), "ünï 日本"),
        ("café".encode("latin-1"), "café"),
        (b"\x93quoted\x94 \x80 5", "“quoted” € 5"),
        ("日本 caf".encode() + b"\xe9", "日本 café"),
        (b"undefined in both: \x81.", "undefined in both: ."),
        (b"\xef\xbb\xbfmarked", "marked"),
        (b"cut in a character \xe6\x97", "cut in a character æ—"),
        ("\ud83d\ude00 joined", "😀 joined"),
        ("\ud83d\udc80 joined", "💀 joined"),
        ("lone \ud83d half", "lone \ufffd half"),
        ("lone \ude00 half", "lone \ufffd half"),
        ("caf\udce9 escaped", "café escaped"),
        ("\udce6\udc97\udca5 escaped", "日 escaped"),
    ],
)
def test_normalise(raw: bytes | str, text: str) -> None:
    found = normalise(raw)
    assert found.text == text
    assert found.changed == (raw != (text if isinstance(raw, str) else text.encode()))
    assert normalise(found.text) == (text, False)


def test_the_original_can_be_stored() -> None:
    assert decoded("caf\u0065\u0301\t") == "cafe\u0301\t"
    assert decoded(b"a\tcaf\xe9 ") == "a\tcafé " and decoded("a\udce9") == "aé"
