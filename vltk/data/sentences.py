"""Running text to sentences, line by line in flat memory: where a sentence ends for sure, and nowhere else."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from vltk.data.caption import normalise

CLOSING = "\"'”’»)\\]"
END = re.compile(rf"(?P<mark>[.!?…]+)[{CLOSING}]*(?P<blank>\s+)(?=\S)|(?<=[。！？])(?P<wide>[」』”’）]*)(?=\S)")
OPENING = re.compile(r"[\"'“‘«(\[]*")
ABBREVIATIONS = (
    "mr mrs ms messrs dr prof rev hon st sr jr gen col lt capt sgt maj cmdr gov sen rep pres mme mlle "
    "vs etc cf al ca approx ed eds trans dept est inc ltd co corp bros ave blvd e.g i.e u.s u.k a.m p.m ph.d "
    "jan feb mar apr jun jul aug sep sept oct nov dec"
)
BEFORE_NUMBERS = "no nos vol vols fig figs eq ch sec pp p"  # words of their own elsewhere
SHORT, NUMBERED = frozenset(ABBREVIATIONS.split()), frozenset(BEFORE_NUMBERS.split())
HELD = 1 << 18  # characters of one paragraph that are held: beyond that its whole sentences go out


def sentences(lines: Iterable[str]) -> Iterator[str]:
    """The sentences of lines, each on one line in NFC; an empty line ends a paragraph, and with it a sentence."""
    held: list[str] = []
    size = 0
    for line in lines:
        text = normalise(line).text
        if text:
            held.append(text)
            size += len(text) + 1
        if held and (not text or size > HELD):
            found = split(" ".join(held))
            held = [found.pop()] if text and len(found) > 1 else []  # the last one may go on
            size = sum(map(len, held))
            yield from found
    if held:
        yield from split(" ".join(held))


def split(text: str) -> list[str]:
    """One paragraph to sentences.

    No end: any mark before a small letter (`?” said he`), a dot after one capital letter or a usual abbreviation.
    """
    cuts = [0]
    for match in END.finditer(text):
        if match["blank"] is None or _ends(text, match):
            cuts.append(match.end())
    found = [text[start:stop].strip() for start, stop in zip(cuts, [*cuts[1:], len(text)], strict=True)]
    return [sentence for sentence in found if sentence]


def _ends(text: str, match: re.Match[str]) -> bool:
    opening = OPENING.match(text, match.end())
    after = text[opening.end() if opening else match.end() :][:1]
    if after.islower():
        return False
    if match[0].rstrip() != ".":  # another mark, or a quote that closes
        return True
    before = text[max(0, match.start() - 12) : match.start()].rpartition(" ")[2].lstrip("\"'“‘«([")
    if len(before) == 1 and before.isupper():
        return False
    return before.lower() not in (SHORT | NUMBERED if after.isdecimal() else SHORT)
