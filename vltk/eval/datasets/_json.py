"""Lists in JSON files, one entry at a time: the annotations of VQA take gigabytes as objects all at once."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from vltk.errors import VltkError
from vltk.eval.datasets._files import Files

GAP = re.compile(r"[\s,:]*")
DECODER = json.JSONDecoder()


def entries(files: Files, path: str, key: str) -> Iterator[dict[str, Any]]:
    """The objects of the list `key` of the object in a file. Raises VltkError for what is cut short, or has none."""
    where, text = files.where(path), _text(files, path)
    at = _gap(text, 0)
    if not text.startswith("{", at):
        raise VltkError(f"{where}: a JSON object expected")
    at = _gap(text, at + 1)
    while not text.startswith("}", at):
        name, at = _next(text, at, where)
        if name == key and text.startswith("[", at):
            yield from _listed(text, at + 1, where)
            return
        _, at = _next(text, at, where)
    raise VltkError(f"{where}: no list {key!r} in it")


def lines(files: Files, path: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each line of a JSON-lines file as an object, with its number. Raises VltkError for a line that is none."""
    where = files.where(path)
    for number, line in enumerate(_text(files, path).split("\n"), 1):
        if line.strip():
            try:
                entry = json.loads(line)
            except ValueError as error:
                raise VltkError(f"{where}, line {number}: cut short or damaged: {error}") from None
            if not isinstance(entry, dict):
                raise VltkError(f"{where}, line {number}: a JSON object expected")
            yield number, entry


def field(entry: dict[str, Any], where: str, *names: str) -> Any:
    """The value of the first of the keys that is there. Raises VltkError where none is."""
    for name in names:
        if name in entry:
            return entry[name]
    raise VltkError(f"{where}: no {' or '.join(names)}; have: {', '.join(sorted(entry))}")


def _listed(text: str, at: int, where: str) -> Iterator[dict[str, Any]]:
    at = _gap(text, at)
    while not text.startswith("]", at):
        entry, at = _next(text, at, where)
        if not isinstance(entry, dict):
            raise VltkError(f"{where}: a JSON object expected, not {str(entry)[:60]!r}")
        yield entry


def _next(text: str, at: int, where: str) -> tuple[Any, int]:
    """The value that begins there, and where the next one does."""
    try:
        value, at = DECODER.raw_decode(text, at)
    except ValueError:
        raise VltkError(f"{where}: the JSON is cut short or damaged at {text[at : at + 60]!r}") from None
    return value, _gap(text, at)


def _gap(text: str, at: int) -> int:
    gap = GAP.match(text, at)
    return gap.end() if gap else at


def _text(files: Files, path: str) -> str:
    try:
        return files.read(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise VltkError(f"{files.where(path)}: no UTF-8 at byte {error.start}") from None
