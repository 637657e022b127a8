"""`vltk eval --data-status`: which official data sets are there, which files are missing, and what to do; offline."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vltk.data.fetch.estimate import size
from vltk.errors import RecipeError
from vltk.eval import task
from vltk.eval.datasets._card import GATES, card_names
from vltk.eval.datasets._places import FileState, Survey, by_hand, own_folder, steps, survey, unpacking
from vltk.log import console, say
from vltk.strict import suggest

SUITE = "35tasks"
LOOKED = 5000  # files of a data set whose sizes are added up
WHOLE = 5  # columns that are never cut
UNBOUNDED = 1000  # columns where there is no terminal: more than any line has

COLOURS = {"ready": "green", "partial": "yellow", "absent": "red"}


def all_names() -> list[str]:
    """The data sets of the 35 tasks, in the order of FLAVA's table."""
    return task.suite(SUITE).entries


def chosen_names(names: Sequence[str]) -> list[str]:
    """Those names, each of which has to be a card. Raises RecipeError with the nearest name."""
    known = card_names()
    if wrong := [name for name in names if name not in known]:
        raise RecipeError(f"no official data set '{name}'{suggest(name, known)}" for name in wrong)
    return list(names)


def data_status(data: Path | None = None, names: Sequence[str] = ()) -> list[Survey]:
    """What there is of each data set (default: of all 35). Raises RecipeError for a name without a card."""
    return [survey(name, data) for name in chosen_names(names) or all_names()]


def tell(names: Sequence[str] = (), data: Path | None = None, as_json: bool = False) -> None:
    """Prints what `data_status` finds, for people or for scripts."""
    surveys = data_status(data, names)
    if as_json:
        print(json.dumps([facts(found, data) for found in surveys], indent=1, ensure_ascii=False))
    else:
        show(surveys, data)


def facts(found: Survey, data: Path | None = None) -> dict[str, Any]:
    """A row for scripts."""
    card = found.card
    total, whole = _bytes(found)
    return {
        "name": card.name,
        "state": found.state,
        "folder": None if found.root is None else str(found.root),
        "looked": [str(path) for path in found.looked],
        "missing": [name for one in found.files for name in one.missing],
        "damaged": [str(path) for path in found.damaged],
        "bytes_found": total,
        "bytes_found_is_all": whole,
        "bytes_official": card.bytes,
        "counts": card.counts,
        "licence": card.licence.id,
        "gated": card.gated,
        "steps": [{"what": what, "do": do} for what, do in steps(found, data)],
    }


def show(surveys: Sequence[Survey], data: Path | None = None) -> None:
    """A table with a line a data set, then what to type and what to do by hand for those that are not ready."""
    shown = console if console.is_terminal else Console(width=UNBOUNDED, highlight=False)
    shown.print(_table(surveys))
    for line in advice(surveys, data):
        say(line)


def advice(surveys: Sequence[Survey], data: Path | None = None) -> Iterator[str]:
    """For what is not in place: which files of partial data sets, one command for all downloads, then checklists."""
    option = f" --data {shlex.quote(str(data))}" if data is not None else ""
    for found in surveys:
        if missing := ", ".join(name for one in found.files for name in one.missing if found.state == "partial"):
            yield f"{found.card.name} is partial; not in place: {missing}"
    names = [found.card.name for found in surveys if any(one.file.url for one in _absent(found))]
    if names:
        needed = sum(one.file.bytes or 0 for found in surveys for one in _absent(found) if one.file.url)
        yield f"to download, {size(needed)} in all:\n  vltk eval --fetch {','.join(names)}{option}"
    for found in surveys:
        yield from checklist(found, data)


def checklist(found: Survey, data: Path | None = None) -> list[str]:
    """What a person does for the files of a data set that no download brings, numbered."""
    lines = [f"{wrong}, after rm {shlex.quote(str(path))}" for path, wrong in found.damaged.items()]
    lines += [unpacking(one.file, one.path) for one in found.files if one.state == "packed" and one.path]
    absent = [name for one in _absent(found) if not one.file.url for name in one.missing]
    if absent:
        lines += by_hand(found.card, found.root or own_folder(found.card, data))
    if not lines:
        return []
    what = f" ({', '.join(absent)})" if absent else ""
    return [f"{found.card.name}, by hand{what}:", *(f"  {number}. {line}" for number, line in enumerate(lines, 1))]


def _table(surveys: Sequence[Survey]) -> Table:
    ready = sum(found.state == "ready" for found in surveys)
    title = f"{ready} of {len(surveys)} official data sets are ready"
    shown = Table(title=title, title_justify="left", highlight=False, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in ("data set", "state", "found", "official", "access", "samples", "licence"):
        number = heading in ("found", "official")
        shown.add_column(heading, justify="right" if number else "left", no_wrap=True)
    rows = [tuple(_cells(found)) for found in surveys]
    for column, cells in list(zip(shown.columns, zip(*rows, strict=True), strict=True))[:WHOLE]:
        column.min_width = max(len(cell) for cell in cells)
    for row in rows:
        shown.add_row(*row)
    return shown


def _cells(found: Survey) -> Iterator[Text]:
    card = found.card
    total, whole = _bytes(found)
    yield Text(card.name)
    counts = {"missing": sum(len(one.missing) for one in found.files), "damaged": len(found.damaged)}
    told = [f"{count} {what}" for what, count in counts.items() if count and found.state == "partial"]
    yield Text(", ".join([found.state, *told]), COLOURS[found.state])
    yield Text(("" if whole else "over ") + size(total) if found.root else "")
    yield Text(size(card.bytes) if card.bytes else "")
    yield Text(GATES[card.gated])
    yield Text(", ".join(f"{split} {count:,}" for split, count in card.counts.items()))
    yield Text(card.licence.id)


def _absent(found: Survey) -> list[FileState]:
    return [one for one in found.files if one.state in ("absent", "part")]


def _bytes(found: Survey) -> tuple[int, bool]:
    """The bytes of what lies in its folder, and whether these are all: of many files the first ones are added up."""
    if found.place is None:
        return 0, True
    inner = found.place.root / found.card.inside if found.card.inside else None
    top, only = (inner, ()) if inner is not None and inner.is_dir() else (found.place.root, found.place.entries)
    total = count = 0
    for path in _walk(top, only):
        if count == LOOKED:
            return total, False
        total, count = total + os.stat(path).st_size, count + 1
    return total, True


def _walk(root: Path, only: Sequence[str]) -> Iterator[str]:
    tops = [root / name for name in only if (root / name).exists()] if only else [root]
    for top in tops:
        if top.is_file():
            yield str(top)
        for folder, _, names in os.walk(top):
            yield from (os.path.join(folder, name) for name in names)
