"""What `vltk data ls` prints: the data sets on disk, then those that a card can bring, a line each."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Iterator

from vltk.data.dataset import data_root
from vltk.data.fetch.estimate import size
from vltk.data.shelf import Row

PIPED = 160  # columns where there is no terminal
GAP = "  "
NUMBERS = {"samples", "stored", "size"}


def show(rows: Iterable[Row]) -> None:
    """Two tables; what is too long for the terminal is cut."""
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else PIPED
    known = list(rows)
    stored, offered = [row for row in known if row.on_disk], [row for row in known if not row.on_disk]
    for title, columns in ((f"On disk, below {data_root()}", _stored(stored)), ("Not on disk", _offered(offered))):
        if columns["name"]:
            print("\n".join([title, *_lines(columns, room)]))
    if offered:
        print("vltk data fetch NAME brings one, vltk data ls NAME tells all of it")


def _stored(rows: list[Row]) -> dict[str, list[str]]:
    return {
        "name": [row.name for row in rows],
        "holds": [row.counts or row.state for row in rows],
        "size": [size(row.bytes) if row.bytes else "" for row in rows],
        "licence": [row.licence for row in rows],
        "codes": [row.codes for row in rows],
    }


def _offered(rows: list[Row]) -> dict[str, list[str]]:
    return {
        "name": [row.name for row in rows],
        "samples": [f"{row.samples:,}" if row.samples else "" for row in rows],
        "stored": [f"about {size(row.bytes)}" if row.bytes else "" for row in rows],
        "addresses alive": [row.expected for row in rows],
        "state": [row.state.removeprefix("not on disk") for row in rows],
        "what": [f"{row.about}; licence: {row.licence}" for row in rows],
    }


def _lines(columns: dict[str, list[str]], room: int) -> Iterator[str]:
    """The header and a line a row, at most `room` characters wide; empty columns are left out."""
    shown = {name: [name, *values] for name, values in columns.items() if any(values)}
    widths = {name: max(map(len, values)) for name, values in shown.items()}
    for row in zip(*shown.values(), strict=True):
        cells = [_cell(text, name, widths[name]) for text, name in zip(row, shown, strict=True)]
        line = GAP.join(cells).rstrip()
        yield line if len(line) <= room else line[: room - 1] + "…"


def _cell(text: str, name: str, width: int) -> str:
    return text.rjust(width) if name in NUMBERS else text.ljust(width)
