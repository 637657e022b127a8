"""The form of a URL list that no card describes: by the ending of the file, its first line, the names in it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from vltk.data.fetch.form import Form, Layout, is_web
from vltk.data.fetch.lines import lines, shown
from vltk.data.fetch.lists import load, read_entry
from vltk.data.fetch.quoting import cells_of
from vltk.errors import VltkError

ENDINGS: dict[str, Layout] = {
    ".tsv": "tsv", ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".parquet": "parquet",
    ".txt": "txt",
}  # fmt: skip
PACKED = (".gz", ".bz2")
URL_NAMES = ("url", "image_url", "image_urls", "link", "src", "image")
CAPTION_NAMES = ("caption", "captions", "text", "alt", "alt_text", "title", "description")


def recognise(path: Path) -> Form:
    """The form of a file. Raises VltkError where it does not tell."""
    if not path.is_file():
        raise VltkError(f"the URL list {path} is not there")
    form = Form(layout_of(path), caption=())
    form = replace(form, quoted=form.layout == "csv")
    if form.layout in ("tsv", "csv"):
        return _by_first_line(path, form)
    return form if form.layout == "txt" else _by_names(path, form)


def is_list(name: str) -> bool:
    """Whether the name is one of a URL list, by its ending."""
    return _ending(Path(name)) in ENDINGS


def layout_of(path: Path) -> Layout:
    """By the ending of the file. Raises VltkError."""
    if not is_list(path.name):
        kinds = f"{', '.join(ENDINGS)} (also with {', '.join(PACKED)})"
        raise VltkError(f"{path}: no known kind of URL list; have: {kinds}")
    return ENDINGS[_ending(path)]


def _ending(path: Path) -> str:
    return (path.with_suffix("") if path.suffix.lower() in PACKED else path).suffix.lower()


def _by_first_line(path: Path, form: Form) -> Form:
    """A first line that holds an address is no header; then the address is one column and the other the caption."""
    first = next(lines(path, None), (1, b""))[1]
    cells = [shown(cell).strip() for cell in cells_of(first, form)]
    addresses = [is_web(cell) for cell in cells]
    if any(addresses):
        if len(cells) > 2 and not form.quoted and addresses[-1]:  # tabs in the first caption
            cells, addresses = cells[-2:], [False, True]
        names = ["url" if web else "caption" if len(cells) <= 2 else f"column{at}" for at, web in enumerate(addresses)]
        if names.count("url") != 1 or len(cells) > 2:
            raise VltkError(f"{path}: {len(cells)} columns without a header: name them (columns=[caption, url])")
        return replace(form, columns=tuple(names), caption=("caption",) if len(cells) == 2 else ())
    return _named(path, cells, form)


def _by_names(path: Path, form: Form) -> Form:
    if form.layout == "parquet":
        import pyarrow.parquet as pq

        return _named(path, list(pq.read_schema(path).names), form)
    if form.layout == "jsonl":
        entry = read_entry(next(lines(path, None), (1, b"{}"))[1])
        return _named(path, list(entry or {}), form)
    data = load(path)
    first = data if isinstance(data, dict) else data[0] if isinstance(data, list) and data else {}
    return _named(path, list(first) if isinstance(first, dict) else [], form)


def _named(path: Path, names: list[str], form: Form) -> Form:
    """The form with the names of the columns that hold the address and the caption."""
    lower = {name.lower().strip(): name.strip() for name in names}
    url = next((lower[name] for name in URL_NAMES if name in lower), None)
    caption = next((lower[name] for name in CAPTION_NAMES if name in lower), None)
    if url is None:
        raise VltkError(f"{path}: no column of addresses; have: {', '.join(names) or 'nothing'}; name it (url=COLUMN)")
    return replace(form, url=url, caption=(caption,) if caption else ())
