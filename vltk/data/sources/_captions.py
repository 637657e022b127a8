"""Caption files of every layout as rows (line or entry, image name, caption)."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from vltk.errors import VltkError

IMAGE_COLUMNS = ("image", "image_name", "file_name", "filename", "filepath", "path", "image_path", "img", "name")
CAPTION_COLUMNS = ("caption", "captions", "text", "comment", "description", "raw", "title")


class Row(NamedTuple):
    """One caption of one image; `place` is the line in the file (the entry, in COCO JSON)."""

    place: int
    image: str
    caption: str


def read_captions(path: Path) -> list[Row]:
    """All rows of a caption file, by its layout. Raises VltkError when it is absent, empty or of no known layout."""
    if not path.is_file():
        raise VltkError(f"the caption file {path} is not there")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise VltkError(f"{path}: not UTF-8 at byte {error.start}: convert it (iconv -f latin1 -t utf-8)") from None
    if not text.strip():
        raise VltkError(f"the caption file {path} is empty: it needs one caption a line, with the name of its image")
    rows = list(_reader(path, text)(path, text))
    if not rows:
        raise VltkError(f"the caption file {path} has a header and no captions")
    return rows


def is_caption_header(line: str) -> bool:
    """Whether a first line names a column of images and one of captions."""
    cells = {cell.strip().strip('"').lower() for cell in line.split("\t" if "\t" in line else ",")}
    return bool(cells & set(IMAGE_COLUMNS)) and bool(cells & set(CAPTION_COLUMNS))


def _reader(path: Path, text: str) -> Any:
    ending = path.suffix.lower()
    first = text.lstrip().split("\n", 1)[0]
    if ending in (".jsonl", ".ndjson"):
        return _json_lines
    if ending == ".json":
        return _json
    if "\t" in first:
        return _flickr if "#" in first.split("\t")[0] else _tsv
    if "," in first:
        return _csv
    raise VltkError(f"{path}: no known layout of captions; have: CSV, TSV, JSON lines, COCO JSON, Flickr8k token file")


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Numbered lines; unlike `splitlines`, a caption may hold Unicode's other line ends."""
    for number, line in enumerate(text.split("\n"), 1):
        yield number, line.rstrip("\r")


def _flickr(path: Path, text: str) -> Iterator[Row]:
    """`NAME#0<tab>caption`."""
    for number, line in _lines(text):
        if line.strip():
            name, tab, caption = line.partition("\t")
            if not tab:
                raise VltkError(f"{path}:{number}: no tab between image and caption: {line[:60]!r}")
            yield Row(number, name.rpartition("#")[0] or name, caption)


def _tsv(path: Path, text: str) -> Iterator[Row]:
    """Columns split at tabs, without quoting: a caption may begin with a quotation mark."""
    lines = [(number, line.split("\t")) for number, line in _lines(text) if line.strip()]
    yield from _table(path, lines)


def _csv(path: Path, text: str) -> Iterator[Row]:
    reader = csv.reader(io.StringIO(text))
    lines = []
    try:
        for cells in reader:
            if cells:
                lines.append((reader.line_num, cells))
    except csv.Error as error:
        raise VltkError(f"{path}:{reader.line_num}: {error}") from None
    yield from _table(path, lines)


def _table(path: Path, lines: list[tuple[int, list[str]]]) -> Iterator[Row]:
    """Rows of a table whose first line names its columns."""
    header = [cell.strip().lower() for cell in lines[0][1]]
    image, caption = _column(path, header, IMAGE_COLUMNS), _column(path, header, CAPTION_COLUMNS)
    for number, cells in lines[1:]:
        if len(cells) != len(header):
            raise VltkError(f"{path}:{number}: {len(cells)} columns, the header has {len(header)}")
        yield Row(number, cells[image].strip(), cells[caption])


def _column(path: Path, header: list[str], known: tuple[str, ...]) -> int:
    for name in known:
        if name in header:
            return header.index(name)
    have = f"have: {', '.join(header)}; known names: {', '.join(known)}"
    raise VltkError(f"{path}:1: no column {known[0]!r} in the first line; {have}")


def _json_lines(path: Path, text: str) -> Iterator[Row]:
    """One object a line: an image name, and a caption or a list of captions."""
    for number, line in _lines(text):
        if line.strip():
            yield from _entry(f"{path}:{number}", number, _loads(f"{path}:{number}", line))


def _json(path: Path, text: str) -> Iterator[Row]:
    """COCO's captions, a list of objects, or one object a line."""
    try:
        data = json.loads(text)
    except ValueError:
        yield from _json_lines(path, text)
        return
    if isinstance(data, dict) and "annotations" in data:
        yield from _coco(path, data)
        return
    for number, entry in enumerate(data if isinstance(data, list) else [data], 1):
        yield from _entry(f"{path}: entry {number}", number, entry)


def _entry(place: str, number: int, entry: Any) -> Iterator[Row]:
    if not isinstance(entry, dict):
        raise VltkError(f"{place}: not an object with an image and a caption")
    image = next((entry[name] for name in IMAGE_COLUMNS if name in entry), None)
    caption = next((entry[name] for name in CAPTION_COLUMNS if name in entry), None)
    if image is None or caption is None:
        raise VltkError(f"{place}: needs the keys image and caption; have: {', '.join(entry)}")
    for text in caption if isinstance(caption, list) else [caption]:
        yield Row(number, str(image), "" if text is None else str(text))


def _coco(path: Path, data: dict[str, Any]) -> Iterator[Row]:
    """`images` with id and file_name, `annotations` with image_id and caption."""
    try:
        names = {image["id"]: image["file_name"] for image in data["images"]}
        for number, note in enumerate(data["annotations"], 1):
            yield Row(number, names.get(note["image_id"], str(note["image_id"])), str(note["caption"]))
    except (KeyError, TypeError) as error:
        raise VltkError(f"{path}: no COCO captions, {error} is lacking; have: {', '.join(data)}") from None


def _loads(place: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise VltkError(f"{place}: no JSON ({error})") from None
