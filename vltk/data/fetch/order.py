"""What a fetch of a URL list is about: its files and how they are read, which rows, what is expected of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vltk.data.card_schema import Card, UrlList
from vltk.data.fetch.form import Form
from vltk.data.fetch.options import Columns, FetchOptions
from vltk.data.fetch.recognise import layout_of, recognise
from vltk.data.fetch.rows import Wanted
from vltk.errors import Missing, VltkError


@dataclass(frozen=True)
class Order:
    """`expected` is the share of the rows that should give an image, `per_sample` the bytes of a stored one.

    `facts` is what the manifest says of the source.
    """

    sources: list[tuple[Path, Form]]
    wanted: Wanted
    facts: dict[str, Any]
    expected: float | None = None
    per_sample: int | None = None


def of_card(card: Card, fetcher: UrlList, paths: list[Path], options: FetchOptions) -> Order:
    """The order for the files of a card's list, which are on this machine."""
    from vltk.data.card import card_digest

    form = form_of(fetcher)
    wanted = Wanted(
        captioned=card.modality == "image_text",
        min_words=fetcher.filter.min_words,
        language=speaks(fetcher.filter.lang) if fetcher.filter.lang else None,
        limit=options.limit,
    )
    facts = {"kind": "urls", "card": card.name, "card_sha256": card_digest(card), "licence": card.licence.id}
    expected = options.expected or (card.expected.rate if card.expected else None)
    return Order([(path, form) for path in paths], wanted, facts, expected, card.size.bytes_per_sample)


def of_file(path: Path, options: FetchOptions) -> Order:
    """The order for a list of one's own."""
    form = _told(path, options.source)
    wanted = Wanted(captioned=bool(form.caption), limit=options.limit)
    return Order([(path, form)], wanted, {"kind": "urls", "list": path.name}, options.expected)


def form_of(fetcher: UrlList) -> Form:
    """How the files of a card are read, once `bring_list` has brought them."""
    return Form(
        layout=fetcher.form,
        columns=tuple(fetcher.columns),
        url=fetcher.url,
        caption=tuple(fetcher.caption),
        quoted=fetcher.quoted or fetcher.form == "csv",
        encoding=fetcher.encoding,
        where=fetcher.filter.where,
    )


def speaks(language: str) -> Callable[[str], bool]:
    """Whether a caption is in a language (ISO 639-1). Raises Missing without py3langid."""
    try:
        import py3langid
    except ImportError:
        step = ("py3langid, which tells languages", "pip install 'vltk[languages]'")
        raise Missing(f"the card wants captions in {language!r}", [step]) from None

    def spoken(text: str) -> bool:
        return str(py3langid.classify(text)[0]) == language

    return spoken


def _told(path: Path, given: Columns) -> Form:
    """What the user said of a list, and for the rest what the file tells."""
    if not path.is_file():
        raise VltkError(f"the URL list {path} is not there")
    if given.columns or given.url:
        layout = given.layout or layout_of(path)
        url = given.url or "url"
        caption = given.caption if given.caption is not None else [name for name in given.columns if name == "caption"]
        form = Form(layout, tuple(given.columns), url, tuple(caption), layout == "csv")
        if given.columns and (lost := {url, *caption} - set(given.columns)):
            raise VltkError(f"source.columns has no {', '.join(sorted(lost))}; have: {', '.join(given.columns)}")
    else:
        form = recognise(path)
    quoted = form.quoted if given.quoted is None else given.quoted
    return replace(form, quoted=quoted, encoding=given.encoding)
