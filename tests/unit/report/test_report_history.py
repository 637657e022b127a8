"""What a run wrote about itself, also half-written, is read and counted."""

from __future__ import annotations

from pathlib import Path

import pytest

from vltk.report.history import read_lines, scores, without_rewound
from vltk.report.record import read_stages


def test_an_absent_file_has_no_rows(tmp_path: Path) -> None:
    lines = read_lines(tmp_path / "metrics.jsonl")
    assert (lines.rows, lines.unfinished, lines.broken) == ([], False, ())


def test_half_written_and_broken_lines_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n\x00\x00\n[3]\n{"step": 2}\n{"step": 3, "los')
    lines = read_lines(path)
    assert [row["step"] for row in lines.rows] == [1, 2]
    assert lines.unfinished
    assert lines.broken == (2, 3)


def test_a_whole_last_line_without_line_end_counts(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}')
    lines = read_lines(path)
    assert [row["step"] for row in lines.rows] == [1, 2]
    assert not lines.unfinished


def test_steps_a_resume_went_back_over_count_once() -> None:
    def row(step: int, stream: str, attempt: int) -> dict[str, object]:
        return {"step": step, "stream": stream, "attempt": attempt}

    first = [row(10, "a", 1), row(10, "b", 1), row(20, "a", 1), row(20, "b", 1), row(30, "a", 1)]
    again = [row(20, "a", 2), row(20, "b", 2), row(30, "a", 2)]
    kept = without_rewound([*first, *again])
    assert kept == [first[0], first[1], *again]


def test_scores_keep_every_step_and_the_latest_row() -> None:
    def row(metric: str, step: int, value: float) -> dict[str, object]:
        return {
            "task": "dev",
            "split": "dev",
            "metric": metric,
            "value": value,
            "step": step,
            "detail": {"chance": 0.5},
        }

    names = "text_to_image R@1", "text_to_image median rank"
    rows = [row(names[0], 10, 1.0), row(names[0], 20, 3.0), row(names[0], 30, 2.0), row(names[0], 30, 2.5)]
    recall, rank = scores([*rows, row(names[1], 10, 40.0), row(names[1], 20, 50.0)])
    assert (recall.steps, recall.values) == ([10, 20, 30], [1.0, 3.0, 2.5])
    assert recall.latest is rows[-1]
    assert (recall.in_percent, recall.best, recall.chance, recall.where) == (True, 1, 0.5, "dev")
    assert (rank.in_percent, rank.best) == (False, 0)
    more, fewer = scores(row(name, step, step) for name in ("perplexity", "dead codes") for step in (10, 20))
    assert (more.best, fewer.best) == (1, 0)  # of the codes of a tokenizer


def test_a_run_may_have_an_at_in_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    stage = Path("runs/me@lab/joint")
    stage.mkdir(parents=True)
    (stage / "recipe.yaml").write_text("steps: 2\n")
    (stage / "run.json").write_text('{"status": "stopped", "step": 1}\n')
    folder, (found,) = read_stages("me@lab")
    assert folder == Path("runs/me@lab") and found.name == "joint" and found.chosen is None
