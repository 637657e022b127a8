"""How far a pass is: a share where the total is known, and only what was done where it is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from vltk.data import bar, vocabulary
from vltk.data.bar import Bar
from vltk.data.shard import Record, write_dataset


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bar, "SELDOM", 0.0)


def test_share(capsys: pytest.CaptureFixture[str]) -> None:
    with Bar("pass", 200) as shown:
        assert shown.due()
        shown.show(50, "50 rows")
        shown.show(300, "300 rows")
    first, second = capsys.readouterr().out.splitlines()
    assert first == "pass: 25%, about 0 min left, 50 rows" and second.startswith("pass: 100%, ")


@pytest.mark.parametrize("total", [None, 0])
def test_an_unknown_total_has_no_share(total: int | None, capsys: pytest.CaptureFixture[str]) -> None:
    with Bar("pass", total) as shown:
        shown.show(50, f"50 rows, {shown.rate(50)}")
    said = capsys.readouterr().out
    assert said.startswith("pass: 50 rows, ") and said.endswith("/s\n") and "%" not in said


@pytest.mark.parametrize("total", [None, 200])
def test_on_a_terminal(total: int | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    with Bar("pass", total) as shown:
        assert shown.live and not shown.due()
        shown.show(50, "50 rows")
    said = capsys.readouterr().out
    assert "50 rows" in said and ("25%" in said) == (total is not None)


def test_learning_says_how_far_it_is(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_dataset(root / "t", [Record(f"k{n}", None, ["a dog runs"]) for n in range(4)], source={})
    (tmp_path / "b.txt").write_text("A cat sits. It sleeps.")
    vocabulary.train_vocabulary(["t"], 64, tmp_path / "vocab.txt")
    assert "reading texts: 50%" in capsys.readouterr().out
    vocabulary.train_tokenizer(["t"], "wordpiece", 64, tmp_path / "t.json")
    assert "reading texts: 25%" in capsys.readouterr().out
    vocabulary.train_tokenizer(["t", str(tmp_path / "b.txt")], "bpe", 300, tmp_path / "t.json")
    said = capsys.readouterr().out
    assert "%" not in said and "reading texts: 6 sentences, " in said
