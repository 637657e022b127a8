"""Texts to look at beside their images: the best, the worst, and those where the rule has to be right."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

from vltk.capfilt import reasons
from vltk.capfilt.job import Shard
from vltk.capfilt.rules._contract import GENERATED, WEB
from vltk.capfilt.tables import Row
from vltk.data.image import BadImage, evaluation_image
from vltk.report.capfilt.extent import SCORES, Extent
from vltk.report.galleries.examples import picture
from vltk.report.page import section

SHOWN = 8  # samples of a kind
SIDE = 168  # pixels of a thumbnail
NEXT = "borderline"  # to the rule's cut, or to the texts of the image that it keeps
Pictures = Mapping[tuple[str, str], str]  # by shard and key, as HTML


@dataclass(order=True)
class _Shown:
    """Texts of one image, ordered by `rank` among others of their kind. `place`: of the sample, among those of its
    shard that have texts."""

    rank: float
    number: int
    rows: Sequence[Row] = field(compare=False)
    shard: Shard = field(compare=False)
    place: int = field(compare=False)

    @property
    def key(self) -> str:
        return str(self.rows[0]["key"])


class Gallery:
    """The texts that are to be shown, found image by image; of an image one of each kind."""

    def __init__(self, extent: Extent) -> None:
        self.extent = extent
        self._held: dict[tuple[str, str], list[_Shown]] = defaultdict(list)  # by kind and source
        self._seen = 0

    def add(self, shard: Shard, place: int, texts: Sequence[Row]) -> None:
        self._seen += 1
        by = self.extent.ranked
        if by is None:
            return
        for source in (WEB, GENERATED):
            own = [row for row in texts if row["source"] == source and row[by] is not None]
            if own:
                best, worst = max(own, key=lambda row: row[by]), min(own, key=lambda row: row[by])
                self._hold("best", source, best[by], [best], shard, place)
                self._hold("worst", source, -worst[by], [worst], shard, place)
            if source in self.extent.cuts:
                self._hold_borderline(source, own, by, shard, place)
        if self.extent.by is not None and not self.extent.cuts:
            self._hold_compared(texts, by, shard, place)

    def _hold_borderline(self, source: str, texts: Sequence[Row], by: str, shard: Shard, place: int) -> None:
        """The text next to the cut, of those that it decided on."""
        cut = self.extent.cuts[source]
        asked = [row for row in _asked(texts) if not reasons.compared(row["reason"])]
        if asked:
            row = min(asked, key=lambda row: abs(row[by] - cut))
            self._hold(NEXT, source, -abs(row[by] - cut), [row], shard, place)

    def _hold_compared(self, texts: Sequence[Row], by: str, shard: Shard, place: int) -> None:
        """The last text of the image that is kept and the first that is not."""
        asked = [row for row in _asked(texts) if row[by] is not None]
        kept, lost = ([row for row in asked if bool(row["kept"]) is one] for one in (True, False))
        if kept and lost:
            last, first = min(kept, key=lambda row: row[by]), max(lost, key=lambda row: row[by])
            self._hold(NEXT, "", first[by] - last[by], [last, first], shard, place)

    def _hold(self, kind: str, source: str, rank: float, rows: Sequence[Row], shard: Shard, place: int) -> None:
        held = self._held[kind, source]
        heapq.heappush(held, _Shown(rank, -self._seen, rows, shard, place))
        if len(held) > SHOWN:
            heapq.heappop(held)

    def sections(self) -> Iterator[str]:
        pictures = _pictures([one for held in self._held.values() for one in held])
        for kind in ("best", NEXT, "worst"):
            for source in (WEB, GENERATED, ""):
                if held := self._held.get((kind, source)):
                    title = f"{kind.capitalize()} {f'{source} texts' if source else 'images'}"
                    cards = "".join(_card(one, pictures) for one in sorted(held, reverse=True))
                    yield section(title, f'<div class="words">{cards}</div>', note=escape(self._note(kind, source)))

    def _note(self, kind: str, source: str) -> str:
        by = self.extent.ranked
        if kind != NEXT:
            return f"Those with the {'highest' if kind == 'best' else 'lowest'} {by}."
        if not source:
            return f"The last text that is kept and the first that is not are nearly equal in {by}."
        return f"Texts next to {by} {self.extent.cuts[source]:.4g}, where the rule parts {source} texts."


def _asked(texts: Iterable[Row]) -> list[Row]:
    """Those whose scores the rule looked at."""
    return [row for row in texts if not reasons.before_the_rule(row["reason"])]


def _card(one: _Shown, pictures: Pictures) -> str:
    said = "".join(map(_said, one.rows))
    return f"<div>{pictures[one.shard.name, one.key]}<p>{said}<small>{escape(one.key)}</small></p></div>"


def _said(row: Row) -> str:
    told = " · ".join(f"{name} {row[name]:.3f}" for name in SCORES if row[name] is not None)
    verdict = '<span class="verdict hit">kept</span>' if row["kept"] else '<span class="verdict miss">rejected</span>'
    return (
        f'<span dir="auto">{escape(row["text"])}</span> {verdict}<br>'
        f"<small>{row['source']} · {told}<br>{escape(row['reason'])}</small><br>"
    )


def _pictures(shown: Iterable[_Shown]) -> Pictures:
    """Their thumbnails; each shard is gone through once, from one wanted sample to the next."""
    wanted: dict[str, dict[str, _Shown]] = defaultdict(dict)
    for one in shown:
        wanted[one.shard.name][one.key] = one
    found = {}
    for shard, by_key in wanted.items():
        position = 0
        for one in sorted(by_key.values(), key=lambda one: one.place):
            position = max(position, one.place)  # further on where samples before it have no texts
            position, found[shard, one.key] = _next(one, position)
    return found


def _next(one: _Shown, first: int) -> tuple[int, str]:
    """Where in its shard the sample is, from `first` on, and its picture; "" where it is not there any more."""
    for n in range(first, len(one.shard.positions)):
        sample = one.shard.dataset.read(one.shard.positions[n])
        if sample.key == one.key:
            return n, _picture(sample.image or b"", one.key)
    return first, ""


def _picture(image: bytes, key: str) -> str:
    try:
        return picture(evaluation_image(image, SIDE), key, "thumb", largest=SIDE)
    except BadImage:
        return ""
