"""The table of the learning benchmark: what it joins, what it says of seeds, and what it refuses to join."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import learning
from benchmarks.peers.courses import Course, of_peer, read_courses, refuse_unlike
from benchmarks.peers.summary import METRICS, table
from vltk.errors import VltkError

STEPS = {"clip": 20, "flava": 10}
CONDITIONS = {"minutes": 1.0, "steps": STEPS, "train": "a/train", "dev": "a/dev", "width": 32, "lr": 5e-4, "seed": 0}


def _evaluation(model: str, step: int, recall: float, seed: int = 0) -> dict[str, Any]:
    return {"model": model, "step": step, "seconds": 3.0 * step, "seed": seed} | dict.fromkeys(METRICS, recall)


def _file(path: Path, *rows: dict[str, Any], **changed: Any) -> Path:
    lines = [{"conditions": CONDITIONS | changed}, *rows]
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return path


def _course(model: str, seed: int, *recalls: float) -> Course:
    records: list[Any] = [_evaluation(model, 10 * n, recall, seed) for n, recall in enumerate(recalls, 1)]
    return Course(model, seed, f"{model}-{seed}", {}, {}, records)


def _cells(text: str) -> dict[str, list[str]]:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    return {row[0]: row[1:] for row in rows}


def _main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["learning", *arguments])
    learning.main()


def test_the_table_has_means_over_seeds_and_differences_by_seed() -> None:
    peers = [_course("clip", 1, 4.0, 6.0), _course("clip", 0, 5.0, 2.0)]  # seeds in any order
    rows = _cells(table([*peers, _course("ours", 0, 3.0, 7.0), _course("ours", 1, 9.0, 8.0)]))
    assert rows[""][3:5] == ["image to text R@10", "text to image R@10"]
    assert rows["clip, last"][:4] == ["0, 1", "20", "1.0", "4.0 ± 2.8"]
    assert rows["clip, best"][:4] == ["0, 1", "10, 20", "0.8", "5.5 ± 0.7"]
    assert rows["ours - clip, last"][3] == "+3.5 ± 2.1 (+5.0, +2.0)"
    assert rows["ours - clip, best"][3] == "+2.5 ± 0.7 (+2.0, +3.0)"
    assert all(len(row) == 9 for row in rows.values())


def test_the_table_of_one_seed_has_no_spread() -> None:
    rows = _cells(table([_course("flava", 3, 4.0), _course("ours", 3, 3.98)]))
    assert rows["flava, last"] == ["3", "10", "0.5", *["4.0"] * 6]
    assert rows["ours - flava, last"][3:] == ["+0.0"] * 6


def test_best_is_by_all_six_recalls() -> None:
    course = _course("clip", 0, 5.0, 5.1)
    course.records[0][METRICS[-1]] = 8.0
    assert _cells(table([course]))["clip, best"][1] == "10"


def test_a_file_may_hold_several_trainings(tmp_path: Path) -> None:
    path = _file(
        tmp_path / "a", _evaluation("clip", 10, 1.0), _evaluation("clip", 20, 2.0), _evaluation("flava", 10, 3.0)
    )
    other = _file(tmp_path / "b", _evaluation("clip", 20, 4.0, seed=1), seed=1)
    path.write_text(path.read_text() + other.read_text())
    courses = read_courses(path, list(STEPS))
    assert [(c.model, c.seed, len(c.records)) for c in courses] == [("clip", 0, 2), ("flava", 0, 1), ("clip", 1, 1)]
    assert [course.own for course in courses] == [{"steps": 20}, {"steps": 10}, {"steps": 20}]


def test_minutes_end_a_training_without_steps(tmp_path: Path) -> None:
    assert read_courses(_file(tmp_path / "a", _evaluation("clip", 20, 1.0), steps={}), ["clip"])
    with pytest.raises(VltkError, match="not finished: clip of seed 0 stands at step 19"):
        read_courses(_file(tmp_path / "a", _evaluation("clip", 19, 1.0), steps={}), ["clip"])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([_evaluation("clip", 10, 1.0)], "not finished: clip of seed 0 stands at step 10"),
        ([], "not finished: seed 0 has no evaluation"),
        ([_evaluation("ours", 20, 1.0)], "a:2: no evaluation of clip or flava"),
    ],
)
def test_files_that_say_too_little(rows: list[dict[str, Any]], message: str, tmp_path: Path) -> None:
    with pytest.raises(VltkError, match=message):
        read_courses(_file(tmp_path / "a", *rows), list(STEPS))


@pytest.mark.parametrize("content", ["", "no JSON\n", "[1]\n"])
def test_files_of_other_kinds(content: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_text(content)
    with pytest.raises(VltkError, match="a is empty|a:1: no evaluation"):
        read_courses(tmp_path / "a", list(STEPS))


@pytest.mark.parametrize(
    ("model", "changed", "message"),
    [
        ("clip", {"seed": 0}, "clip of seed 0 is given twice: x and y"),
        ("clip", {"steps": {"clip": 21}}, "x and y are of different conditions: steps 20 and 21"),
        ("clip", {"steps": {}}, "minutes None and 1.0, steps 20 and None"),
        ("flava", {"dev": "b/dev"}, "dev a/dev and b/dev"),
        ("flava", {"width": 64}, "width 32 and 64"),
        ("flava", {}, "same seeds; have: clip 0; flava 1"),
    ],
)
def test_what_is_not_alike_is_refused(model: str, changed: dict[str, Any], message: str) -> None:
    courses = [of_peer("clip", CONDITIONS, "x"), of_peer(model, CONDITIONS | {"seed": 1} | changed, "y")]
    with pytest.raises(VltkError, match=message):
        refuse_unlike(courses)


def test_peers_may_have_other_steps_each() -> None:
    refuse_unlike([of_peer(model, CONDITIONS, model) for model in STEPS])


def test_summary_needs_no_vocabulary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [_file(tmp_path / f"{name}", _evaluation(name, steps, 7.0)) for name, steps in STEPS.items()]
    _main(monkeypatch, "--summary", *map(str, files))
    said = capsys.readouterr().out
    assert "a/dev" in said and _cells(said)["flava, best"][3] == "7.0"


def test_a_missing_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(VltkError, match="none: No such file"):
        _main(monkeypatch, "--summary", str(tmp_path / "none"))
    with pytest.raises(VltkError, match="none: no such file; give the vocab.txt"):
        _main(monkeypatch, "--vocab", str(tmp_path / "none"))


def test_training_and_calibrating_need_a_vocabulary(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        _main(monkeypatch, "--calibrate")
    assert "--vocab is needed" in capsys.readouterr().err


def test_training_prints_and_keeps_what_summary_reads(
    home: Path, stand_ins: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = learning.Sizes(width=32, heads=2, mlp=32, image_depth=1, text_depth=1, fusion_depth=1, image=32)
    monkeypatch.setattr(learning, "Sizes", lambda: sizes)
    monkeypatch.setitem(learning.PEERS, "clip", lambda sizes, words: _Clip(sizes, words, batch_size=4))  # type: ignore[arg-type, return-value]
    data = ["--train", "shapes/train", "--dev", "shapes/dev", "--vocab", str(stand_ins / "shapes/vocab.txt")]
    _main(
        monkeypatch, *data, "--peers", "clip", "--steps", "clip=3", "--evaluate-every", "2", "--out", "out/clip.jsonl"
    )
    shown = capsys.readouterr().out
    assert _cells(shown)["clip, last"][1] == "3"
    _main(monkeypatch, "--summary", "out/clip.jsonl")
    assert capsys.readouterr().out.strip() in shown


_Clip = learning.PEERS["clip"]
