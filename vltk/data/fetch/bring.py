"""What `vltk data fetch` does with a card, a card file or a list of URLs: says the terms, takes the way, brings it."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from vltk.data.card import load_card
from vltk.data.card_schema import Archives, Card, Fetcher, Generated, Hub, Local, Mirror, UrlList
from vltk.data.dataset import data_root, dataset_folder, dataset_names
from vltk.data.fetch.estimate import estimate, require_disk, size
from vltk.data.fetch.job import Switches, begun, complete, run
from vltk.data.fetch.listed import bring_list
from vltk.data.fetch.options import FetchOptions
from vltk.data.fetch.order import Order, of_card, of_file
from vltk.data.fetch.recognise import is_list
from vltk.data.fetch.retry import retry
from vltk.data.fetch.sets import fetch_set
from vltk.errors import Missing, VltkError
from vltk.log import say


def bring(
    what: str,
    options: FetchOptions,
    switches: Switches,
    name: str | None = None,
    way: str | None = None,
    accept_licence: bool = False,
    statuses: Sequence[str] | None = None,
) -> list[str]:
    """Fetch a card (by name or path) or a list of URLs (by path) as the data set `name`; the names then on disk.

    `way` is a kind of fetcher (default: the first of the card); `statuses` (None: no) tries lost rows again, of those
    kinds, or of all that may mend when it is empty. Raises Missing for what the user must bring or accept.
    """
    if statuses is not None:
        _alone("--retry-failed", switches, way)
    if is_list(what):
        name = name or Path(what).name.partition(".")[0]
        if statuses is not None:
            return _retried(name, options, statuses)
        if way is not None:
            raise VltkError(f"--from {way} is a way of a card; {what} is a list of URLs: leave it out")
        if not complete(dataset_folder(name), switches):
            run(name, partial(of_file, Path(what), options), options, switches)
        return [name]
    card = load_card(what)
    fetcher = _way(card, way)
    if isinstance(fetcher, Generated):
        _generated(card, name, options, switches, statuses)
        importlib.import_module(f"vltk.data.sources.{fetcher.generator}").generate(
            data_root(), replace=switches.replace
        )
        return [found for found in dataset_names() if found == card.name or found.startswith(f"{card.name}/")]
    name = name or card.name
    if statuses is not None:
        return _retried(name, options, statuses)
    if isinstance(fetcher, Local):
        title = f"{card.name} ({card.about}; licence: {card.licence.id}) is brought by hand:"
        raise Missing(title, [(step.what, step.command) for step in fetcher.bring])
    _terms(card, what, fetcher, accept_licence)
    if isinstance(fetcher, Mirror | Hub | Archives):
        return fetch_set(card, name, fetcher, options, switches)
    fetch_urls(card, name, fetcher, options, switches)
    return [name]


def fetch_urls(card: Card, name: str, fetcher: UrlList, options: FetchOptions, switches: Switches) -> None:
    """Bring the URL list of a card, and what it lists, as the data set `name`."""
    folder = dataset_folder(name)
    if not complete(folder, switches):
        options = _in_touch(card, fetcher, options)
        if card.samples and not begun(folder):
            rows = min(card.samples.published, options.limit or card.samples.published)
            expected = options.expected or (card.expected.rate if card.expected else None)
            require_disk(folder, estimate(rows, options, expected, card.size.bytes_per_sample).needed)

        def ordered() -> Order:
            paths, described = bring_list(fetcher, folder / ".fetch" / "files", options.policy())
            return of_card(card, described, paths, options)

        run(name, ordered, options, switches)


def _alone(flag: str, switches: Switches, way: str | None = None) -> None:
    """Raises VltkError for switches that mean nothing beside a flag."""
    given = [f"--{key.replace('_', '-')}" for key, on in vars(switches).items() if on]
    given += [f"--from {way}"] if way else []
    if given:
        raise VltkError(f"{flag} does not go with {', '.join(given)}: leave {'them' if given[1:] else 'it'} out")


def _generated(
    card: Card, name: str | None, options: FetchOptions, switches: Switches, statuses: Sequence[str] | None
) -> None:
    """Raises VltkError for all that means nothing where vltk draws the data set itself, but --replace."""
    given = [f"--name {name}"] if name not in (None, card.name) else []
    given += [f"--{key.replace('_', '-')}" for key, on in vars(switches).items() if on and key != "replace"]
    given += ["--retry-failed"] if statuses is not None else []
    given += [f"{key}=" for key in sorted(options.model_fields_set)]
    if given:
        raise VltkError(f"{card.name} is drawn by vltk, nothing is fetched: leave out {', '.join(given)}")


def _way(card: Card, way: str | None) -> Fetcher:
    if way is None:
        return card.fetchers[0]
    for fetcher in card.fetchers:
        if fetcher.kind == way:
            return fetcher
    raise VltkError(f"{card.name} has no way {way!r}; have: {', '.join(fetcher.kind for fetcher in card.fetchers)}")


def _terms(card: Card, what: str, fetcher: Mirror | Hub | Archives | UrlList, accepted: bool) -> None:
    """Licence and what to expect, before anything is fetched. Raises Missing until the licence is accepted."""
    licence = card.licence.id + (f" ({card.licence.url})" if card.licence.url else "")
    say(f"{card.name}: {card.about}\nlicence: {licence}")
    if card.licence.needs_accept and not accepted:
        step = (f"the licence of {card.name} read and accepted: {licence}", f"vltk data fetch {what} --accept-licence")
        raise Missing(f"{card.name} is fetched once its licence is accepted:", [step])
    if fetcher.about:
        say(f"{fetcher.kind}: {fetcher.about}")
    others = [other.kind for other in card.fetchers if other.kind not in (fetcher.kind, "local")]
    if others:
        say(f"way: {fetcher.kind}; others: {', '.join(f'--from {kind}' for kind in others)}")
    if card.samples:
        say(f"published: {card.samples.published:,} samples ({card.samples.source})")
    if isinstance(fetcher, UrlList) and card.expected:
        say(f"expected: {card.expected.rate:.0%} of the addresses ({card.expected.date}, {card.expected.source})")
    elif not isinstance(fetcher, UrlList) and card.size.download:
        say(f"to download: {size(card.size.download)}")


def _retried(name: str, options: FetchOptions, statuses: Sequence[str]) -> list[str]:
    retry(name, options, list(statuses))
    return [name]


def _in_touch(card: Card, fetcher: UrlList, options: FetchOptions) -> FetchOptions:
    """The options. Raises Missing where the servers ask for a contact and there is none."""
    if fetcher.user_agent_contact and not options.contact:
        raise Missing(
            f"the servers of {card.name} ask whoever downloads for a way to reach them:",
            [("your mail address or web page, for the user agent", f"vltk data fetch {card.name} contact=ADDRESS")],
        )
    return options
