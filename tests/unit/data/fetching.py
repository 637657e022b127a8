"""Lists, a card and a stand-in for img2dataset, for tests of `vltk data fetch`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tests.unit.data.samples import picture
from vltk.data.dataset import open_dataset
from vltk.data.fetch import downloader
from vltk.data.fetch.downloader import Outcome, Piece
from vltk.data.fetch.pieces import read_table
from vltk.data.fetch.policy import Policy
from vltk.data.inspect.verify import verify
from vltk.data.statuses import Status

KEYS = ["processes=2", "shard_size=20", "rounds=3", "pause=0"]
CARD = """
name: web
about: a list on loopback
modality: image_text
licence: {{id: ours, url: "http://example.com/terms", needs_accept: {accept}}}
samples: {{published: 40, verified: true, source: here}}
yield: {{rate: 0.8, date: "2026", source: here}}
fetchers:
  - kind: urls
    files: [{{url: {path}}}]
    form: tsv
    header: false
    columns: [{columns}]
"""


def rows_of(name: str) -> list[dict[str, Any]]:
    """All rows of a data set, after a look at what its counts say."""
    dataset = open_dataset(name)
    found = [
        row for path in sorted((dataset.folder / "rows").glob("*.parquet")) for row in pq.read_table(path).to_pylist()
    ]
    assert sorted(row["row"] for row in found) == list(range(len(found)))
    statuses = dataset.manifest["statuses"]
    assert statuses == {status: [row["status"] for row in found].count(status) for status in statuses}
    assert sum(statuses.values()) == dataset.manifest["rows"] == len(found)
    assert verify(name).problems == []
    assert statuses.get("ok", 0) == dataset.manifest["samples"] == len(dataset)
    return sorted(found, key=lambda row: int(row["row"]))


def listed(folder: Path, rows: list[tuple[str, str]], name: str = "pairs.tsv") -> Path:
    path = folder / name
    path.write_text("".join(f"{caption}\t{url}\n" for caption, url in rows))
    return path


@dataclass
class FakeWeb:
    """Stands in for img2dataset: `answers[url]` are the outcomes of its tries, the last one for all further tries."""

    answers: dict[str, list[Status | bytes]] = field(default_factory=dict)
    asked: list[int] = field(default_factory=list)  # rows, in order
    discarded: list[str] = field(default_factory=list)
    stop_after: int | None = None  # pieces of a call
    made: dict[str, list[Outcome]] = field(default_factory=dict)

    def download(
        self, urls: Path, out: Path, options: downloader.Options, policy: Policy, on_piece: Callable[[Piece], None]
    ) -> None:
        out.mkdir(exist_ok=True)
        for number, path in enumerate(sorted(urls.glob("*.parquet"))):
            piece = FakePiece(self, f"{out.name}/{number}", number)
            if piece.name in self.discarded:
                continue
            if piece.name not in self.made:
                if self.stop_after == 0:
                    raise KeyboardInterrupt
                self.stop_after = None if self.stop_after is None else self.stop_after - 1
                self.made[piece.name] = [self.outcome(row["row"], row["url"]) for row in read_table(path)]
            on_piece(piece)

    def outcome(self, row: int, url: str) -> Outcome:
        self.asked.append(row)
        tries = self.answers.get(url, [picture(row)])
        answer = tries.pop(0) if len(tries) > 1 else tries[0]
        if isinstance(answer, bytes):
            return Outcome(row, url, answer, Status.ok)
        return Outcome(row, url, None, answer, "as the test wants")


class FakePiece(Piece):
    def __init__(self, web: FakeWeb, name: str, number: int) -> None:
        object.__setattr__(self, "web", web)
        object.__setattr__(self, "name", name)
        super().__init__(number, Path(f"{name}.tar"), Path(f"{name}.parquet"))

    web: FakeWeb
    name: str

    def discard(self) -> None:
        self.web.discarded.append(self.name)


def url(row: int) -> str:
    return f"http://example.com/{row}.jpg"


def pairs(folder: Path, count: int = 60) -> Path:
    return listed(folder, [(f"caption {row}", url(row)) for row in range(count)])
