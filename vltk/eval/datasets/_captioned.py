"""Photos with several captions, as the retrieval sets have them: Karpathy's JSON and the older caption files."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import Any

from vltk.errors import VltkError
from vltk.eval.datasets._files import Files
from vltk.eval.datasets._json import entries, field
from vltk.eval.datasets._rows import Row

csv.field_size_limit(1 << 24)


@dataclass(frozen=True, slots=True)
class Photo:
    """A photo by its path as the file gives it, its captions in their order, and the split if the file says one."""

    path: str
    captions: tuple[str, ...]
    split: str | None = None


def karpathy(files: Files, path: str) -> Iterator[Photo]:
    """`dataset_coco.json`, `dataset_flickr30k.json` (Karpathy and Fei-Fei 2015)."""
    where = files.where(path)
    for number, one in enumerate(entries(files, path, "images")):
        place = f"{where}, image {number}"
        name = PurePosixPath(str(one.get("filepath", "")), str(field(one, place, "filename"))).as_posix()
        said: Iterable[dict[str, Any]] = field(one, place, "sentences")
        yield Photo(
            name, tuple(str(field(text, place, "raw")).strip() for text in said), str(field(one, place, "split"))
        )


def token_file(files: Files, path: str) -> list[Photo]:
    """Lines `NAME.jpg#0`, a tab, the caption (`results_20130124.token`, `Flickr8k.token.txt`)."""
    found: dict[str, list[str]] = {}
    for number, line in enumerate(_text(files, path).split("\n"), 1):
        mark, tab, caption = line.partition("\t")
        name, hash_mark, _ = mark.rpartition("#")
        if line.strip() and not (tab and hash_mark):
            raise VltkError(f"{files.where(path)}, line {number}: no NAME#NUMBER, a tab and a caption")
        if line.strip():
            found.setdefault(name, []).append(caption.strip())
    return _photos(found)


def table(files: Files, path: str) -> list[Photo]:
    """A CSV with an image and a caption in each row; or with `raw`, a JSON list of captions, and `split`."""
    where = files.where(path)
    reader = csv.DictReader(io.StringIO(_text(files, path)), skipinitialspace=True)
    columns = {name.strip().lower(): name for name in reader.fieldnames or []}
    image = next((columns[name] for name in ("filename", "image", "image_name") if name in columns), None)
    caption = next((columns[name] for name in ("raw", "caption", "comment") if name in columns), None)
    if image is None or caption is None:
        raise VltkError(f"{where}: no columns for the image and its caption; have: {', '.join(columns)}")
    if caption == columns.get("raw"):
        return [_listed(row, image, columns, f"{where}, row {number}") for number, row in enumerate(reader, 1)]
    found: dict[str, list[str]] = {}
    for number, row in enumerate(reader, 1):
        if not row[image] or row[caption] is None:
            raise VltkError(f"{where}, row {number}: no image or no caption: cut short or damaged")
        found.setdefault(row[image].strip(), []).append(row[caption].strip())
    return _photos(found)


def as_rows(photos: Iterable[Photo], folder: str, captions: int | None) -> list[Row]:
    """The rows of photos that lie in `folder`, with at most `captions` each. Raises VltkError for one without any."""
    return list(map(partial(_row, folder=folder, captions=captions), photos))


def _row(photo: Photo, folder: str, captions: int | None) -> Row:
    if not photo.captions:
        raise VltkError(f"{photo.path}: no captions")
    path = f"{folder}/{photo.path}" if folder else photo.path
    return Row(PurePosixPath(photo.path).stem, path, photo.captions[:captions])


def _listed(row: dict[str, str], image: str, columns: dict[str, str], where: str) -> Photo:
    try:
        captions = tuple(str(text).strip() for text in json.loads(row[columns["raw"]]))
    except (ValueError, TypeError) as error:
        raise VltkError(f"{where}: the captions are no JSON list: {error}") from None
    return Photo(row[image], captions, row[columns["split"]] if "split" in columns else None)


def _photos(found: dict[str, list[str]]) -> list[Photo]:
    return [Photo(name, tuple(captions)) for name, captions in found.items()]


def _text(files: Files, path: str) -> str:
    try:
        return files.read(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise VltkError(f"{files.where(path)}: no UTF-8 at byte {error.start}") from None
