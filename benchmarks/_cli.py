"""What the command lines of all benchmarks share: their options' types, `--json`, and how a mistake ends."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any

from vltk.errors import VltkError


def parser(about: str | None) -> argparse.ArgumentParser:
    """With the head of the benchmark's file as its help."""
    return argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)


def json_option(given: argparse.ArgumentParser) -> None:
    given.add_argument("--json", action="store_true", help="the figures once more as one JSON object, the last line")


def conditions(given: argparse.Namespace) -> dict[str, Any]:
    """What was asked for, but `--json`."""
    return {name: value for name, value in vars(given).items() if name != "json"}


def last(found: Any, as_json: bool) -> None:
    """With `--json` the figures, on one line."""
    if as_json:
        print(json.dumps(found))


def positive(text: str) -> int:
    """A whole number, 1 or more. Raises ArgumentTypeError."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: a whole number is needed, 1 or more")
    return int(text)


def whole(text: str) -> int:
    """A whole number, 0 or more. Raises ArgumentTypeError."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r}: a whole number is needed, 0 or more")
    return int(text)


def positives(text: str) -> list[int]:
    """Of "1,2". Raises ArgumentTypeError."""
    return [positive(part) for part in text.split(",")]


def some_of(*choices: str) -> Callable[[str], list[str]]:
    """A type that takes some of `choices` with commas between. It raises ArgumentTypeError."""

    def listed(text: str) -> list[str]:
        parts = text.split(",")
        if unknown := [part for part in parts if part not in choices]:
            raise argparse.ArgumentTypeError(f"no such choice: {', '.join(unknown)}; choose among {','.join(choices)}")
        return parts

    return listed


def run(main: Callable[[], None]) -> None:
    """Calls `main`; a VltkError ends the process with its message alone and exit code 1."""
    try:
        main()
    except VltkError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
