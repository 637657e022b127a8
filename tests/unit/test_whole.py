"""Files that are there whole or not at all."""

from __future__ import annotations

from pathlib import Path
from threading import Barrier, Thread

import pytest

from vltk.whole import differs, seal, whole


def test_a_file_takes_its_place_once_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("old")
    with whole(path) as part:
        part.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("old")
    with pytest.raises(OSError, match="full"), whole(path) as part:
        part.write_text("ne")
        raise OSError("the disk is full")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_several_write_one_behind_the_other(tmp_path: Path) -> None:
    """Each a whole file, in its turn; the threads stand for processes, whose locks are the same."""
    path = tmp_path / "recipe.yaml"
    together, seen = Barrier(4), []

    def write(text: str) -> None:
        together.wait()
        for _ in range(50):
            with whole(path) as part:
                part.write_text(text)
            seen.append(path.read_text())

    writers = [Thread(target=write, args=(letter * 9,)) for letter in "abcd"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(30)
    assert len(seen) == 200 and set(seen) <= {letter * 9 for letter in "abcd"} and list(tmp_path.iterdir()) == [path]


def test_a_file_is_known_again(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"1234")
    sealed = seal(path)
    assert differs(path, sealed) is None
    path.write_bytes(b"1235")
    assert differs(path, sealed) == "weights does not have its checksum"
    path.write_bytes(b"123")
    assert differs(path, sealed) == "weights has 3 bytes instead of 4"
