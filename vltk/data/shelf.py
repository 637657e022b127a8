"""What is on disk and what could be (`vltk data ls`), and taking a data set off (`vltk data rm`)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vltk.data import codes
from vltk.data.card import Card, Generated, Local, card_names, licence_of, load_card
from vltk.data.dataset import data_root, dataset_folder, dataset_names
from vltk.data.lock import locked
from vltk.data.publish import LEAVING, WORK, owned
from vltk.errors import VltkError
from vltk.strict import suggest


@dataclass(frozen=True)
class Row:
    """A data set: `counts` and `bytes` as far as they are known, `state` in words."""

    name: str
    state: str
    on_disk: bool
    samples: int | None = None
    bytes: int | None = None
    counts: str = ""
    licence: str = ""
    expected: str = ""
    about: str = ""
    codes: str = ""


def ls() -> Iterator[Row]:
    """The data sets on disk by name, then the cards that are not there. A damaged manifest is a state, no error."""
    found = dataset_names()
    for name in found:
        yield _stored(name)
    for name in card_names():
        if not any(have == name or have.startswith(f"{name}/") for have in found):
            yield _offered(load_card(name))


def _stored(name: str) -> Row:
    try:
        manifest = json.loads((dataset_folder(name) / "manifest.json").read_text(encoding="utf-8"))
        samples, size = manifest["samples"], sum(shard.get("bytes", 0) for shard in manifest["shards"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return Row(
            name, f"manifest.json cannot be read ({error}): vltk data rm {name}", True, licence=licence_of(name, {})
        )
    kinds = [f"{manifest[kind]:,} {kind}" for kind in ("images", "texts") if manifest.get(kind)]
    counts = ", ".join([f"{samples:,} samples", *kinds])
    return Row(
        name, "on disk", True, samples, size, counts, licence_of(name, manifest), codes=codes.told(dataset_folder(name))
    )


def _offered(card: Card) -> Row:
    begun = (dataset_folder(card.name) / ".fetch").exists()
    state = "fetching, not finished" if begun else "by hand" if card.kind == "local" else "not on disk"
    published = card.samples.published if card.samples else None
    return Row(
        card.name, state, False, published, estimated_bytes(card), _published(card), card.licence.id,
        expected_yield(card), card.about,
    )  # fmt: skip


def _published(card: Card) -> str:
    if card.samples is None:
        return ""
    return f"{card.samples.published:,} samples" + ("" if card.samples.verified else " (unverified)")


def expected_yield(card: Card) -> str:
    """`70 % (2024-01)`, as the card says; empty where nothing is known."""
    return f"{card.expected.rate:.0%} ({card.expected.date})" if card.expected else ""


def estimated_bytes(card: Card) -> int | None:
    """Of the finished shards: samples, times the expected yield, times bytes a sample. None: not known."""
    if card.samples is None or card.kind == "shapes":
        return None
    rate = card.expected.rate if card.expected else 1.0
    return int(card.samples.published * rate * card.size.bytes_per_sample)


def told(card: Card) -> Iterator[str]:
    """The card in lines: terms, counts, ways in their order, what to know, and what nobody checked."""
    licence = card.licence.id + (f" ({card.licence.url})" if card.licence.url else "")
    yield f"{card.name}: {card.about}"
    yield f"licence: {licence}" + ("; to be accepted: --accept-licence" if card.licence.needs_accept else "")
    yield from (f"{name}: {value}" for name, value in (("homepage", card.homepage), ("cite", card.citation)) if value)
    if card.samples:
        yield f"published: {_published(card)}; {card.samples.source}"
    if card.expected:
        yield f"expected of addresses: {expected_yield(card)}; {card.expected.source}"
    for number, fetcher in enumerate(card.fetchers, 1):
        if isinstance(fetcher, Local):
            yield from (f"way {number}, by hand: {step.what}\n    {step.command}" for step in fetcher.bring)
        else:
            files = [] if isinstance(fetcher, Generated) else [file.url for file in fetcher.files]
            yield f"way {number}, --from {fetcher.kind}: {' '.join(files) or fetcher.kind}"
    yield from (f"note: {note}" for note in card.notes)
    if card.unverified:
        yield f"from memory, not checked: {'; '.join(card.unverified)}"


def doomed(name: str) -> list[Path]:
    """What `remove` would take away: the files of the data set `name` and of those below it (`name/train`).

    Those behind links stay. Raises VltkError: no name of a data set below the data root, nothing of that name, a link,
    a writer at work.
    """
    folder = _folder(name)
    below = [have for have in dataset_names() if have.startswith(f"{name.strip('/')}/") and not _is_linked(have)]
    folders = [folder, *map(dataset_folder, below)]
    found = [path for place in folders for path in _written(place) if path.exists()]
    if not found:
        raise VltkError(f"no data set {name!r} in {data_root()}{suggest(name, dataset_names())}")
    for place in folders:
        _check_idle(place)
    return found


def _written(folder: Path) -> list[Path]:
    """What vltk writes into the folder of a data set, the manifest first: without it there is no data set."""
    return [folder / "manifest.json", folder / LEAVING, *owned(folder), *(folder / name for name in WORK)]


def _folder(name: str) -> Path:
    parts = Path(name).parts
    root = data_root().resolve()
    folder = dataset_folder(name)
    if not parts or Path(name).is_absolute() or ".." in parts or not folder.resolve().is_relative_to(root):
        raise VltkError(f"{name!r} is no data set below {data_root()}: nothing outside it is removed")
    if _is_linked(name):
        raise VltkError(f"{folder} is a link, or lies behind one: remove the link itself, by hand")
    return folder


def _is_linked(name: str) -> bool:
    return dataset_folder(name).resolve() != data_root().resolve() / name


def _check_idle(folder: Path) -> None:
    for name in WORK:
        if (folder / name).exists():
            with locked(folder / name):
                pass


def remove(name: str) -> list[Path]:
    """Take the data set away, and its folders where nothing else is in them; what stays there, sorted."""
    places = doomed(name)
    for path in places:
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    folders = {folder for path in places for folder in (path.parent, *path.parent.parents)}
    inside = [folder for folder in folders if data_root() in folder.parents]
    for folder in sorted(inside, key=lambda folder: len(folder.parts), reverse=True):
        if not any(folder.iterdir()):
            folder.rmdir()
    kept: dict[Path, Any] = {path: None for place in {path.parent for path in places} for path in place.glob("*")}
    return sorted(kept)
