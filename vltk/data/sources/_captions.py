"""Caption files of every layout as rows (line or entry, image name, caption); an odd byte or quote costs one row."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from vltk.data.caption import decoded
from vltk.data.fetch.form import Form
from vltk.data.fetch.lines import lines, opened
from vltk.data.fetch.quoting import cells_of, fitted, records
from vltk.data.sources._images import is_image_name
from vltk.errors import VltkError

IMAGE_COLUMNS = ("image", "image_name", "file_name", "filename", "filepath", "path", "image_path", "img", "name")
CAPTION_COLUMNS = ("caption", "captions", "text", "comment", "description", "raw", "title")
CSV, TSV = Form("csv", quoted=True), Form("tsv")  # with tabs a caption may begin with a quotation mark
MAX_UNREADABLE = 0.5  # share of rows; a file with more has another layout
SHOWN = 500  # characters of an unreadable row that are kept


class Row(NamedTuple):
    """One caption of one image; `place` is the line in the file (the entry, in JSON lists).

    `problem` says why a row cannot be read; `caption` is then the row as it stands, and there is no image.
    """

    place: int
    image: str
    caption: str
    problem: str = ""


Numbered = tuple[int, bytes]


def read_captions(path: Path) -> list[Row]:
    """All rows of a caption file, by its layout; a byte that is no UTF-8 is read as Windows-1252.

    Raises VltkError when it is absent, empty, of no known layout, or when most of its rows are not of that layout.
    """
    if not path.is_file():
        raise VltkError(f"the caption file {path} is not there")
    try:
        rows = _rows(path)
    except (EOFError, OSError, zlib.error) as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the disk, not of what is in the file
            raise
        raise VltkError(f"{path}: the compressed file is cut or damaged ({error})") from None
    if not rows:
        raise VltkError(f"the caption file {path} has a header and no captions")
    unreadable = [row for row in rows if row.problem]
    if len(unreadable) > MAX_UNREADABLE * len(rows):
        bad = unreadable[0]
        count = f" ({len(unreadable):,} of the {len(rows):,} rows cannot be read)" if len(rows) > 1 else ""
        raise VltkError(f"{path}:{bad.place}: {bad.problem}{count}")
    return rows


def _rows(path: Path) -> list[Row]:
    first = next((line for _, line in _filled(path)), None)
    if first is None:
        raise VltkError(f"the caption file {path} is empty: it needs one caption a line, with the name of its image")
    return list(_reader(path, first)(path))


def is_caption_header(line: str) -> bool:
    """Whether a first line names a column of images and one of captions."""
    cells = {cell.strip().strip('"').lower() for cell in line.split("\t" if "\t" in line else ",")}
    return bool(cells & set(IMAGE_COLUMNS)) and bool(cells & set(CAPTION_COLUMNS))


def _reader(path: Path, first: bytes) -> Callable[[Path], Iterator[Row]]:
    """The reader of the layout, by the ending and the first line."""
    ending = path.suffix.lower()
    if ending in (".jsonl", ".ndjson"):
        return _json_lines
    if ending == ".json":
        return _json
    if b"\t" in first:
        return _flickr if b"#" in first.split(b"\t")[0] else partial(_table, form=TSV)
    if b"," in first:
        return partial(_table, form=CSV)
    raise VltkError(f"{path}: no known layout of captions; have: CSV, TSV, JSON lines, COCO JSON, Flickr8k token file")


def _filled(path: Path) -> Iterator[Numbered]:
    return ((number, line) for number, line in lines(path, None) if line.strip())


def _unreadable(number: int, text: bytes | str, problem: str) -> Row:
    return Row(number, "", decoded(text)[:SHOWN], problem)


def _flickr(path: Path) -> Iterator[Row]:
    """`NAME#0<tab>caption`."""
    for number, line in _filled(path):
        name, tab, caption = decoded(line).partition("\t")
        if tab:
            yield Row(number, name.rpartition("#")[0] or name, caption)
        else:
            yield _unreadable(number, line, "no tab between image and caption")


def _table(path: Path, form: Form) -> Iterator[Row]:
    """Rows of a table whose first line names its columns."""
    source = _filled(path)
    header = [decoded(cell).strip().lower() for cell in cells_of(next(source)[1], form)]
    image, caption = _column(path, header, IMAGE_COLUMNS), _column(path, header, CAPTION_COLUMNS)
    names = _is_file if _has_endings(path, image, form) else _is_word
    for number, cells, text in records(source, form, len(header), image, names):
        whole = fitted(cells, len(header), caption, form)
        if whole is None:
            yield _unreadable(number, text, f"{len(cells)} columns, the header has {len(header)}")
        else:
            yield Row(number, decoded(whole[image]).strip(), decoded(whole[caption]))


def _column(path: Path, header: list[str], known: tuple[str, ...]) -> int:
    for name in known:
        if name in header:
            return header.index(name)
    have = f"have: {', '.join(header)}; known names: {', '.join(known)}"
    raise VltkError(f"{path}:1: no column {known[0]!r} in the first line; {have}")


def _has_endings(path: Path, image: int, form: Form) -> bool:
    """Whether images are named with their endings: one is enough."""
    rows = (cells_of(line, form) for _, line in _filled(path))
    return any(_is_file(decoded(cell)) for row in rows for cell in row[image : image + 1])


def _is_file(name: str) -> bool:
    return "\n" not in name.strip() and is_image_name(name.strip())


def _is_word(name: str) -> bool:
    return len(name.split()) == 1


def _json_lines(path: Path) -> Iterator[Row]:
    """One object a line: an image name, and a caption or a list of captions."""
    for number, line in _filled(path):
        text = decoded(line)
        try:
            entry = json.loads(text)
        except (ValueError, RecursionError) as error:
            yield _unreadable(number, text, f"no JSON ({error})")
        else:
            yield from _entry(number, entry)


def _json(path: Path) -> Iterator[Row]:
    """COCO's captions, a list of objects, or one object a line."""
    with opened(path) as file:
        text = decoded(file.read()).removeprefix("\ufeff")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        if not _is_object(text.lstrip().split("\n", 1)[0]):
            raise VltkError(f"{path}: no JSON ({error})") from None
        yield from _json_lines(path)
        return
    if isinstance(data, dict) and "annotations" in data:
        yield from _coco(path, data)
        return
    for number, entry in enumerate(data if isinstance(data, list) else [data], 1):
        yield from _entry(number, entry)


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _entry(number: int, entry: Any) -> Iterator[Row]:
    known = entry if isinstance(entry, dict) else {}
    image = next((known[name] for name in IMAGE_COLUMNS if name in known), None)
    caption = next((known[name] for name in CAPTION_COLUMNS if name in known), None)
    if image is None or caption is None:
        have = f"needs the keys image and caption; have: {', '.join(known) or 'nothing'}"
        yield _unreadable(number, json.dumps(entry, ensure_ascii=False), have)
        return
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
