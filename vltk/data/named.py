"""What a user calls a data set (its name, its folder, its card by name or file, a URL) to the names of data sets."""

from __future__ import annotations

import os
from pathlib import Path

from vltk.data.card import ENDINGS, Card, load_card, steps_for
from vltk.data.dataset import data_root, dataset_folder, dataset_names, is_on_disk
from vltk.data.remote import is_remote
from vltk.errors import Missing, VltkError


def name_of(given: str) -> str:
    """The name, whether or not it is on disk; of a folder outside the data root its whole path, which opens as well.

    A name goes before a folder of the working folder that is called the same. Raises VltkError for a damaged card.
    """
    if is_remote(given) or not given:
        return given
    if (card := card_file(given)) is not None:
        return card.name
    absolute = Path(given).is_absolute()
    if not Path(given).is_dir() or (not absolute and dataset_folder(given).exists()):
        return given if absolute else given.rstrip("/")
    for place in (os.path.abspath, os.path.realpath):
        folder, root = Path(place(given)), Path(place(data_root()))
        if folder.is_relative_to(root):
            return str(folder.relative_to(root))
    return os.path.abspath(given)


def card_file(given: str) -> Card | None:
    """The card, where a file of one is given."""
    return load_card(given) if given.endswith(ENDINGS) and not is_remote(given) else None


def all_of(given: str) -> list[str]:
    """The data set and those below it (`NAME/train`), as far as they are on disk. Raises Missing when none is."""
    name = name_of(given)
    known = _below(Path(name)) if Path(name).is_absolute() else dataset_names()
    here = [one for one in known if name == "." or one == name or one.startswith(f"{name}/")]
    if not here:
        steps = [(f"what the card {given} lists", f"vltk data fetch {given}")] if card_file(given) else steps_for(name)
        raise Missing(f"the data set {name!r} is not on disk (looked in {dataset_folder(name)})", steps)
    return here


def one_of(given: str) -> str:
    """The one data set meant, also by what stands above it where it is alone there; a URL as it is.

    Raises Missing when there is none, VltkError when there are several.
    """
    name = name_of(given)
    if is_on_disk(name):
        return name
    here = all_of(given)
    if len(here) > 1:
        raise VltkError(f"{given} holds several data sets, say which: {', '.join(here)}")
    return here[0]


def _below(folder: Path) -> list[str]:
    """The data sets in a folder outside the data root, by their whole paths."""
    found = (path.parent for path in folder.rglob("manifest.json"))
    return sorted(str(one) for one in found if not any(part.startswith(".") for part in one.relative_to(folder).parts))
