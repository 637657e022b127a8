"""What `vltk data` does: shard raw input, fetch by card, list, and say what is missing."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from vltk.data.card import card_names, load_card, steps_for
from vltk.data.dataset import Dataset, data_root, dataset_folder, dataset_names
from vltk.data.shard import Manifest, write_dataset
from vltk.data.sources._images import is_image_name
from vltk.data.sources.images import Images
from vltk.data.sources.pairs import Pairs
from vltk.data.sources.texts import ENDINGS, Texts
from vltk.errors import Missing, VltkError

Kind = Literal["pairs", "images", "texts"]
KINDS = ("pairs", "images", "texts")


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

    `source` is a folder or tar of images (with `captions`: pairs), a caption file (with `images`), or text files.
    `split_list` keeps the images it names; images are shrunk to a short side of `short_side` pixels (0: kept); texts
    are cut into samples of at most `max_words` words. Raises VltkError, and then nothing is written.
    """
    if images is not None:
        source, captions = images, source
    kind = kind or _kind(source, captions)
    if split_list is not None and kind == "texts":
        raise VltkError("--split-list names images: it does not go with text files")
    reader: Pairs | Images | Texts
    if kind == "pairs":
        if captions is None:
            raise VltkError(f"pairs need a caption file: vltk data shard {source} {name} --captions FILE")
        reader = Pairs(source, captions, split_list, short_side=short_side, quality=quality)
    elif kind == "images":
        reader = Images(source, split_list, short_side=short_side, quality=quality)
    else:
        reader = Texts(source, max_words=max_words)
    options = {"max_words": max_words} if kind == "texts" else {"short_side": short_side, "quality": quality}
    given = {"source": source, "captions": captions, "split_list": split_list}
    facts: dict[str, Any] = {"kind": kind, **options, **{key: path.name for key, path in given.items() if path}}
    return write_dataset(_target(name), reader.records(), facts, samples_per_shard, replace)


def _target(name: str) -> Path:
    parts = Path(name).parts
    if not parts or Path(name).is_absolute() or ".." in parts:
        raise VltkError(f"{name!r} is no name of a data set: words and /, such as flickr8k/train, below {data_root()}")
    return dataset_folder(name)


def _kind(source: Path, captions: Path | None) -> Kind:
    """What the source is, by its files."""
    if captions is not None:
        return "pairs"
    if not source.exists():
        raise VltkError(f"{source} is not there: give a folder or tar of images, or text files")
    if source.is_dir():
        return _folder_kind(source)
    if source.suffix.lower() in (".csv", ".tsv", ".json", ".jsonl"):
        raise VltkError(f"{source} looks like a caption file: add --images FOLDER (or TAR), or --kind texts")
    return "texts" if source.suffix.lower() in ENDINGS else "images"


def _folder_kind(source: Path) -> Kind:
    names = [path.name for path in source.rglob("*") if path.is_file()]
    pictures = sum(is_image_name(name) for name in names)
    texts = sum(Path(name).suffix.lower() in ENDINGS for name in names)
    if pictures and texts:
        holds = f"{source} holds {pictures} images and {texts} text files"
        raise VltkError(f"{holds}: add --captions FILE, or --kind images or texts")
    if not pictures and not texts:
        raise VltkError(f"{source}: neither images nor text files in it")
    return "images" if pictures else "texts"


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
