"""What `vltk data ls` prints: a line a data set, aligned, cut at the width of the terminal."""

from __future__ import annotations

import pytest

from vltk.data import shelf_table
from vltk.data.shelf import Row

ROWS = [
    Row("mine/train", "on disk", True, 8, 2048, "8 samples, 8 images", "CC0"),
    Row("cc3m", "not on disk", False, 3_318_333, 10**10, "", "free", "70% (2024-01)", "web images " * 30),
    Row("coco", "fetching, not finished", False, 118_287, None, "", "mixed", "", "photos"),
]


def test_a_line_a_data_set(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLTK_DATA", "here")
    shelf_table.show(ROWS)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "On disk, below here" and lines[3] == "Not on disk"
    assert lines[2].split() == ["mine/train", "8", "samples,", "8", "images", "2", "KB", "CC0"]
    assert lines[4].split() == ["name", "samples", "stored", "addresses", "alive", "state", "what"]
    assert lines[5].startswith("cc3m  3,318,333  about 10.0 GB  70% (2024-01)")
    assert len(lines[5]) == shelf_table.PIPED and lines[5].endswith("…")
    assert "fetching, not finished" in lines[6] and lines[6].endswith("photos; licence: mixed")
    assert {line.index("what") for line in lines[4:5]} == {lines[6].index("photos")}


def test_nothing_on_disk(capsys: pytest.CaptureFixture[str]) -> None:
    shelf_table.show(ROWS[1:])
    assert capsys.readouterr().out.splitlines()[0] == "Not on disk"
