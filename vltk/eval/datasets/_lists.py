"""Lists that come with data sets: lines of text, their columns, and the images that they name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

from vltk.errors import Missing, VltkError
from vltk.eval.datasets._contract import Files

SHOWN = 5


def text(files: Files, path: str) -> str:
    """A text file in UTF-8, without a byte order mark."""
    try:
        return files.read(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise VltkError(f"{path} is no text: {error}; bring it again") from None


def lines(files: Files, path: str) -> list[str]:
    """The lines that are not empty, without white space at their ends. Raises VltkError where there are none."""
    found = [line.strip() for line in text(files, path).splitlines() if line.strip()]
    if not found:
        raise VltkError(f"{path} is empty: bring it again")
    return found


def rows(files: Files, path: str, columns: Sequence[str], sep: str | None = None) -> list[list[str]]:
    """The columns of each line but `#` comments; the last one may hold separators. Raises VltkError with the line."""
    found = []
    for number, line in enumerate(text(files, path).splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        parts = line.strip().split(sep, len(columns) - 1)
        if len(parts) < len(columns):
            raise VltkError(f"{path}:{number}: '{line.strip()}' is no line of {' '.join(columns)}")
        found.append(parts)
    if not found:
        raise VltkError(f"{path} is empty: bring it again")
    return found


def number(value: str, path: str, key: str) -> int:
    """A whole number. Raises VltkError that names file and sample."""
    try:
        return int(value)
    except ValueError:
        raise VltkError(f"{path}: {key} has '{value}' where a whole number is expected") from None


def class_number(name: str, numbers: dict[str, int], path: str, key: str) -> int:
    """The number of a class by its name. Raises VltkError that names file and sample."""
    if name not in numbers:
        raise VltkError(f"{path}: {key} is of '{name}', which is none of the {len(numbers)} classes")
    return numbers[name]


def numbers(names: Sequence[str]) -> dict[str, int]:
    """Class names to class numbers."""
    return {name: index for index, name in enumerate(names)}


def require_all(files: Files, paths: Sequence[str], listed: str) -> None:
    """Raises Missing with how many of the paths that a list names are absent, and some of them; VltkError for a line
    that names a folder, as the last one of a list that was cut does."""
    absent = [path for path in paths if not PurePosixPath(path).suffix or not files.exists(path)]
    if not absent:
        return
    try:
        files.require(*absent[:SHOWN])
        raise VltkError(f"{listed} names {absent[0]}, which is no file: the list is cut short; bring it again")
    except Missing as error:
        title = f"{listed} names {len(paths):,} files, and {len(absent):,} of them are absent, as:"
        raise Missing(title, error.steps) from None
