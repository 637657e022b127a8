"""What `vltk data` does: shard raw input, fetch by card, list, and say what is missing."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from vltk.data.card import steps_for
from vltk.data.dataset import data_root, dataset_folder, is_on_disk
from vltk.data.foreign import index, is_webdataset, tars_of
from vltk.data.prepare import Limits
from vltk.data.shard import Manifest, write_dataset
from vltk.data.sources._inputs import Input, Kind, image_place, recognise
from vltk.data.sources.images import Images
from vltk.data.sources.pairs import Pairs
from vltk.data.sources.texts import Texts
from vltk.errors import VltkError
from vltk.log import say


def shard(
    source: Path | str,
    name: str,
    captions: Path | None = None,
    images: Path | None = None,
    split_list: Path | None = None,
    kind: Kind | Literal["webdataset"] | None = None,
    limits: Limits | None = None,
    max_words: int = 60,
    samples_per_shard: int = 5000,
    replace: bool = False,
) -> Manifest:
    """Turn raw input into the data set `name` below the data root.

    `source` is a folder or tar of images (with `captions`, or with one caption file in the folder: pairs), a caption
    file (with `images`), text files, or tars of samples that are indexed where they lie (`vltk.data.foreign`); what is
    not said is told from the files. `split_list` keeps the images it names; `limits` say which images are stored and
    how (default: as in `Limits`, files of any size); texts are cut into samples of at most `max_words` words. Raises
    VltkError, and then nothing is written.
    """
    if kind == "webdataset" or (kind is None and captions is None and images is None and is_webdataset(source)):
        return _indexed(source, name, replace)
    limits = limits or Limits(max_bytes=None)
    given = _given(Path(source), name, captions, images, kind)
    kind, source, captions = given.kind, given.source, given.captions
    if split_list is not None and kind == "texts":
        raise VltkError("--split-list names images: it does not go with text files")
    reader: Pairs | Images | Texts
    if captions is not None:
        reader = Pairs(source, captions, split_list, limits=limits)
    elif kind == "images":
        reader = Images(source, split_list, limits=limits)
    else:
        reader = Texts(source, max_words=max_words)
    options = {"max_words": max_words} if kind == "texts" else asdict(limits)
    paths = {"source": source, "captions": captions, "split_list": split_list}
    facts: dict[str, Any] = {"kind": kind, **options, **{key: path.name for key, path in paths.items() if path}}
    return write_dataset(_target(name), reader.records(), facts, samples_per_shard, replace)


def _indexed(source: Path | str, name: str, replace: bool) -> Manifest:
    """Tars of other tools; how far it is, every few seconds."""
    _target(name)
    tars = tars_of(source)
    say(f"{len(tars)} tars of samples: indexed where they lie, nothing is copied")
    last, done = time.monotonic(), 0

    def tell(what: str) -> None:
        nonlocal last, done
        done += 1
        if time.monotonic() - last > 2:
            last = time.monotonic()
            say(f"{done} of {len(tars)}; {what}")

    return index(tars, name, replace, tell)


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


def fetch(
    what: str,
    name: str | None = None,
    recipe: Path | None = None,
    overrides: list[str] | None = None,
    way: str | None = None,
    accept_licence: bool = False,
    retry: list[str] | None = None,
    **switches: bool,
) -> list[str]:
    """Bring a card (by name or path) or a list of URLs (by path); the names of the data sets that are then on disk.

    `recipe` and `overrides` (`key=value`) are `vltk.data.fetch.options.FetchOptions`, `switches` those of
    `vltk.data.fetch.job.Switches`; the others as `vltk.data.fetch.bring.bring` has them.
    """
    from vltk.data.fetch.bring import bring
    from vltk.data.fetch.job import Switches
    from vltk.data.fetch.options import load

    if name is not None:
        _target(name)
    return bring(what, load(recipe, overrides), Switches(**switches), name, way, accept_licence, retry)


def missing(names: Iterable[str]) -> list[tuple[str, str]]:
    """What to bring and to type for each of these data sets that is not on disk, each step once."""
    steps: dict[tuple[str, str], None] = {}
    for name in names:
        if not is_on_disk(name):
            steps.update(dict.fromkeys(steps_for(name)))
    return list(steps)
