"""Reasons of rejected texts in few words: without what each text has for itself, so that they can be counted."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from vltk.capfilt.tables import Tables
from vltk.errors import VltkError

_COMPARED = re.compile(r"\d+ of \d+ by |another ")
_KINDS = (  # of gates and rules; the first that fits
    (re.compile(r"(gate \w+):.*", re.DOTALL), r"\1"),
    (re.compile(r"(the image cannot be read):.*", re.DOTALL), r"\1"),
    (re.compile(r"\d+ of \d+ by (\w+) .*"), r"other texts of the image are ahead by \1"),
    (re.compile(r"(another \w+ text has a higher \w+) than .*"), r"\1"),
    (re.compile(r"(\w+) [^ ;]+; (the upper .*)"), r"\1 too low: \2"),
    (re.compile(r"(.*\b(?:itm|itc|logprob)) [^ ]+ (< .*)"), r"\1 \2"),
)


def kind(reason: str) -> str:
    """The reason without the text's own numbers, as `itm < 0.5`; as it is where no gate or rule here words it so."""
    found = ((pattern.fullmatch(reason), words) for pattern, words in _KINDS)
    return next((match.expand(words) for match, words in found if match), reason)


def before_the_rule(reason: str) -> bool:
    """Whether a gate or the image decided, so that no score was looked at."""
    return reason.startswith(("gate ", "the image cannot be read"))


def compared(reason: str) -> bool:
    """Whether other texts of the image decided, and not a threshold."""
    return _COMPARED.match(reason) is not None


def require_kept(tables: Tables, shards: Iterable[str], look: str) -> None:
    """Raises VltkError where no text of these shards is kept; it tells why not, and where to `look`."""
    lost: Counter[str] = Counter()
    for shard in shards:
        for row in tables.table(shard, ["source", "kept", "reason"]).to_pylist():
            if row["kept"]:
                return
            lost[f"{row['source']}: {kind(row['reason'])}"] += 1
    told = "".join(f"\n  {count:,} {reason}" for reason, count in lost.most_common()) or "\n  there is none at all"
    raise VltkError(f"no text is kept, so that there is nothing to pack:{told}\ntake another rule or gates; {look}")
