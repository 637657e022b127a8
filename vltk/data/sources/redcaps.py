"""RedCaps: the JSON files of its annotations (one a subreddit and year) as rows of a URL list."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vltk.errors import VltkError


class Redcaps:
    """`rows()`: `url` and `caption` (the title, as the authors cleaned it) of every annotation of the files."""

    def __init__(self, files: list[Path]) -> None:
        self.files = files

    def rows(self) -> Iterator[dict[str, Any]]:
        for path in self.files:
            try:
                notes = json.loads(path.read_bytes())["annotations"]
            except (ValueError, KeyError, TypeError) as error:
                raise VltkError(f"{path}: no annotations of RedCaps: {type(error).__name__}: {error}") from None
            for note in notes:
                yield {"url": note.get("url"), "caption": note.get("caption")}
