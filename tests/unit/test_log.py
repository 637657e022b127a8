"""JSON lines: whole rows of numbers, dropped under a lock."""

from __future__ import annotations

import fcntl
from pathlib import Path
from threading import Thread

import pytest

from vltk.log import JsonLines, say, warn


def test_no_row_holds_what_is_no_number(tmp_path: Path) -> None:
    lines = JsonLines(tmp_path / "rows.jsonl")
    lines.write({"step": 1})
    with pytest.raises(ValueError, match="Out of range"):
        lines.write({"step": 2, "loss": float("nan")})
    lines.keep(lambda row: True)
    assert lines.path.read_text() == '{"step": 1}\n'


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2), (1, 3, 2)])
def test_rows_are_dropped_wherever_they_stand(order: tuple[int, ...], tmp_path: Path) -> None:
    """With a last line that was cut short."""
    lines = JsonLines(tmp_path / "rows.jsonl")
    for step in order:
        lines.write({"step": step})
    with lines.path.open("a") as file:
        file.write('{"step": 1}')
    lines.keep(lambda row: row["step"] < 3)
    assert lines.path.read_text() == '{"step": 1}\n{"step": 2}\n'


def test_names_between_colons_stay_words(capsys: pytest.CaptureFixture[str]) -> None:
    for tell in (say, warn):
        tell("probe:a/train:a/test:label:smile: done [bold]")
    told = capsys.readouterr()
    assert told.out == "probe:a/train:a/test:label:smile: done [bold]\n" and told.err == f"warning: {told.out}"


def test_writing_waits_for_one_who_drops(tmp_path: Path) -> None:
    lines = JsonLines(tmp_path / "rows.jsonl")
    lines.write({"step": 1})
    with lines.path.open("r+") as dropper:
        fcntl.flock(dropper, fcntl.LOCK_EX)
        writing = Thread(target=lines.write, args=({"step": 2},))
        writing.start()
        writing.join(0.1)
        assert writing.is_alive()
        dropper.truncate(0)
    writing.join(5)
    assert lines.path.read_text() == '{"step": 2}\n'


def test_dropping_waits_for_a_writer(tmp_path: Path) -> None:
    """And leaves the file the same one, so that a writer who waits for it writes to the right place."""
    lines = JsonLines(tmp_path / "rows.jsonl")
    lines.write({"step": 1})
    inode = lines.path.stat().st_ino
    with lines.path.open("a") as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)
        dropping = Thread(target=lines.keep, args=(lambda row: row["step"] == 2,))
        dropping.start()
        writer.write('{"step": 2}\n')
        writer.flush()
        dropping.join(0.1)
        assert dropping.is_alive()
    dropping.join(5)
    assert lines.path.read_text() == '{"step": 2}\n' and lines.path.stat().st_ino == inode
