"""What `vltk data` does: shard raw input, fetch by card, list, and say what is missing."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from vltk.data.card import card_names, load_card, steps_for
from vltk.data.dataset import Dataset, data_root, dataset_folder, dataset_names
from vltk.data.prepare import MIN_SIDE
from vltk.data.shard import Manifest, write_dataset
from vltk.data.sources._inputs import Input, Kind, image_place, recognise
from vltk.data.sources.images import Images
from vltk.data.sources.pairs import Pairs
from vltk.data.sources.texts import Texts
from vltk.errors import Missing, VltkError
from vltk.log import say


def shard(
    source: Path,
    name: str,
    captions: Path | None = None,
    images: Path | None = None,
    split_list: Path | None = None,
    kind: Kind | None = None,
    short_side: int = 256,
    quality: int = 90,
    max_words: int = 60,
    samples_per_shard: int = 5000,
    replace: bool = False,
) -> Manifest:
    """Turn raw input into the data set `name` below the data root.

    `source` is a folder or tar of images (with `captions`, or with one caption file in the folder: pairs), a caption
    file (with `images`), or text files; what is not said is told from the files. `split_list` keeps the images it
    names; images are shrunk to a short side of `short_side` pixels (0: kept); texts are cut into samples of at most
    `max_words` words. Raises VltkError, and then nothing is written.
    """
    if 0 < short_side < MIN_SIDE:
        raise VltkError(f"--short-side {short_side}: at least {MIN_SIDE} pixels, or 0 to keep images as they are")
    given = _given(source, name, captions, images, kind)
    kind, source, captions = given.kind, given.source, given.captions
    if split_list is not None and kind == "texts":
        raise VltkError("--split-list names images: it does not go with text files")
    reader: Pairs | Images | Texts
    if captions is not None:
        reader = Pairs(source, captions, split_list, short_side=short_side, quality=quality)
    elif kind == "images":
        reader = Images(source, split_list, short_side=short_side, quality=quality)
    else:
        reader = Texts(source, max_words=max_words)
    options = {"max_words": max_words} if kind == "texts" else {"short_side": short_side, "quality": quality}
    paths = {"source": source, "captions": captions, "split_list": split_list}
    facts: dict[str, Any] = {"kind": kind, **options, **{key: path.name for key, path in paths.items() if path}}
    return write_dataset(_target(name), reader.records(), facts, samples_per_shard, replace)


def _target(name: str) -> Path:
    parts = Path(name).parts
    if not parts or Path(name).is_absolute() or ".." in parts:
        raise VltkError(f"{name!r} is no name of a data set: words and /, such as flickr8k/train, below {data_root()}")
    return dataset_folder(name)


def _given(source: Path, name: str, captions: Path | None, images: Path | None, kind: Kind | None) -> Input:
    """What the user said, and for the rest what the files are; a choice made from the files is told."""
    if images is not None:
        source, captions = images, source
    if captions is not None:
        if kind not in (None, "pairs"):
            raise VltkError(f"images with captions are pairs: leave out --kind {kind}, or the captions")
        return Input("pairs", image_place(source), captions)
    if kind == "texts":
        return Input(kind, source)
    if kind == "images":
        return Input(kind, image_place(source))
    found = recognise(source, name)
    if kind == "pairs" and found.captions is None:
        raise VltkError(f"pairs need a caption file: vltk data shard {source} {name} --captions FILE")
    if found.captions is not None:
        say(f"pairs: images of {found.source}, captions of {found.captions}")
    return found


def fetch(name: str) -> list[str]:
    """Bring a data set by its card; the names of the data sets that are then on disk.

    Only generated data needs nothing else; for all others Missing says what to bring and the command for each.
    """
    card = load_card(name)
    if card.kind == "shapes":
        importlib.import_module("vltk.data.sources.shapes").generate(data_root())
        return [found for found in dataset_names() if found == name or found.startswith(f"{name}/")]
    title = f"{name} ({card.about}; licence: {card.licence.id}) is not downloaded by vltk yet: bring it and shard it"
    raise Missing(title, [(step.what, step.command) for step in card.bring])


def missing(names: Iterable[str]) -> list[tuple[str, str]]:
    """What to bring and to type for each of these data sets that is not on disk, each step once."""
    steps: dict[tuple[str, str], None] = {}
    for name in names:
        if not (dataset_folder(name) / "manifest.json").exists():
            steps.update(dict.fromkeys(steps_for(name)))
    return list(steps)


def ls() -> Iterator[dict[str, Any]]:
    """The data sets on disk: name, samples, images, texts, statuses, kind; then the cards that are not on disk."""
    found = dataset_names()
    for name in found:
        manifest = Dataset(name, dataset_folder(name)).manifest
        counts = {key: manifest[key] for key in ("samples", "images", "texts", "statuses")}
        yield {"name": name, "on_disk": True, **counts}
    for name in card_names():
        if not any(have == name or have.startswith(f"{name}/") for have in found):
            yield {"name": name, "on_disk": False, "about": load_card(name).about}
