"""A stage folder as training leaves it, and a reader of the pages made from it."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import yaml


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def metrics_rows(losses: dict[str, list[str]], steps: int) -> list[dict[str, Any]]:
    """Rows as the recorder writes them: at each logged step one for each stream."""
    return [
        {
            "step": step,
            "stream": stream,
            "losses": {name: 5.0 / step for name in names},
            "total": 1.0,
            "metrics": {f"{names[0]}_accuracy": 0.25, "codes_used": 40.0},
            "lr": 1e-3,
            "grad_norm": 0.5,
            "samples_per_s": 100.0,
            "data_wait": 0.02,
            "memory_gb": 1.0,
            "seconds": 0.5 * step,
        }
        for step in range(10, steps + 1, 10)
        for stream, names in losses.items()
    ]


def make_stage(folder: Path, order: int, objectives: dict[str, list[str]], data: dict[str, str], **recipe: Any) -> Path:
    """A stage folder with streams of these objectives; one loss row an objective every ten steps."""
    folder.mkdir(parents=True)
    streams = {
        stream: {"data": [data[stream]], "batch_size": 8, "objectives": {name: {"part": name} for name in names}}
        for stream, names in objectives.items()
    }
    resolved = {"model": {"part": "flava"}, "steps": 100, "streams": streams, "checkpoint": {"every": 50}} | recipe
    (folder / "recipe.yaml").write_text(yaml.safe_dump(resolved, sort_keys=False))
    facts = {"status": "running", "order": order, "vltk": "0.1.0", "machine": "a <small> machine"}
    (folder / "run.json").write_text(json.dumps(facts))
    write_rows(folder / "metrics.jsonl", metrics_rows(objectives, 100))
    return folder


class Page(HTMLParser):
    """What a page holds: tags with their attributes, text, and whether every tag was closed."""

    VOID = ("meta", "img", "br", "line", "circle", "polyline", "polygon", "rect", "link", "hr")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        assert self.open == [], f"not closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())

    def all(self, tag: str, name: str = "") -> list[dict[str, str | None]]:
        return [
            attrs for found, attrs in self.tags if found == tag and name in (attrs.get("class") or "").split() + [""]
        ]
