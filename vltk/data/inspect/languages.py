"""The language of a caption, by py3langid (97 languages, trained on several kinds of text; an optional package)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from importlib.util import find_spec

WORDS = 4  # texts of fewer words are too short to tell
ABSENT = "languages need py3langid: pip install 'vltk[languages]'"


def languages(texts: Iterable[str]) -> dict[str, int] | None:
    """Texts by ISO 639-1 code, most frequent first, `short` for those of under four words; None without py3langid."""
    if find_spec("py3langid") is None:
        return None
    import py3langid

    counts = Counter("short" if len(text.split()) < WORDS else str(py3langid.classify(text)[0]) for text in texts)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
