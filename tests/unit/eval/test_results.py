"""results.jsonl: whole lines or none."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from vltk.errors import VltkError
from vltk.eval import results
from vltk.eval.results import Row, Score


def line(value: float = 12.5, chance: float | None = 1.0, task: str = "dev") -> Row:
    score = Score("dev", "image_to_text R@1", value, 500, chance)
    return results.row(score, task=task, seed=3, run="r/joint", step=40, seconds=1.23456)


def read(path: Path) -> list[Row]:
    return [json.loads(text) for text in path.read_text().splitlines()]


def test_rows_are_appended_one_json_object_a_line(tmp_path: Path) -> None:
    path = tmp_path / "r" / "results.jsonl"
    results.append(path, [line(), line(20.0, None)])
    results.append(path, [line(30.0)])
    rows = read(path)
    assert [row["value"] for row in rows] == [12.5, 20.0, 30.0]
    keys = ["task", "split", "metric", "value", "n", "seed", "run", "step", "seconds"]
    assert list(rows[1]) == keys
    assert list(rows[0]) == [*keys, "detail"] and rows[0]["detail"] == {"chance": 1.0}
    assert rows[0]["seconds"] == 1.235


def test_half_a_line_of_a_killed_process_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    results.append(path, [line()])
    with path.open("a") as file:
        file.write('{"task": "de')
    results.append(path, [line(2.0)])
    assert [row["value"] for row in read(path)] == [12.5, 2.0]


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "results.jsonl"
    results.append(path, [line()])
    before = path.read_bytes()
    whole = os.pwrite

    def half(handle: int, content: bytes, offset: int) -> int:
        if len(content) < 20:
            raise OSError(28, "No space left on device")
        return whole(handle, content[:-10], offset)

    monkeypatch.setattr(os, "pwrite", half)
    with pytest.raises(VltkError, match=r"results\.jsonl.*No space left.*nothing was added"):
        results.append(path, [line(2.0), line(3.0)])
    assert path.read_bytes() == before


def test_no_row_holds_a_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        results.append(tmp_path / "results.jsonl", [line(float("nan"))])


def test_rows_that_stand_there_are_not_added_again(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    results.append(path, [line()], once=True)
    results.append(path, [line(), line(2.0)], once=True)
    assert [row["value"] for row in read(path)] == [12.5, 2.0]
