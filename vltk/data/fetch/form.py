"""How a URL list is laid out: what its card says, or what its ending and first line tell."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from vltk.data.fetch.lines import shown

Layout = Literal["tsv", "csv", "jsonl", "json", "parquet", "txt"]
WEB = re.compile(r"\s*https?://", re.IGNORECASE)


@dataclass(frozen=True)
class Form:
    """How a list is laid out. `columns` names the cells of a file without a header line, in order.

    The caption is the first of the columns `caption` that is filled; rows whose columns are not as `where` says are
    left out.
    """

    layout: Layout
    columns: tuple[str, ...] = ()
    url: str = "url"
    caption: tuple[str, ...] = ("caption",)
    quoted: bool = False
    encoding: str | None = None
    where: Mapping[str, str | list[str]] = field(default_factory=dict)

    @property
    def separator(self) -> bytes:
        """What stands between the cells of a table."""
        return b"," if self.layout == "csv" else b"\t"

    @property
    def wanted(self) -> list[str]:
        """The columns that are read, each once."""
        return list(dict.fromkeys((self.url, *self.caption, *self.where)))


def is_web(text: str) -> bool:
    """Whether the text begins as a web address."""
    return WEB.match(text) is not None


def matches(value: Any, wanted: str | list[str]) -> bool:
    """Whether a cell holds (one of) what a filter wants, blanks around it aside."""
    text = shown(value) if isinstance(value, bytes) else str(value)
    return text.strip() in ([wanted] if isinstance(wanted, str) else wanted)
