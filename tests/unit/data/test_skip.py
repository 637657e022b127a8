"""Skip lists: read back sorted, atomic, refused for other content."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from vltk.data import skip
from vltk.data.dataset import Dataset
from vltk.data.skip import Skip
from vltk.errors import VltkError

ROWS = [Skip(9, "k9", "near", "pairs/k1", 3), Skip(2, "k2", "exact", "pairs/k1", 0)]


def test_a_list_comes_back_sorted(make: Callable[..., Dataset]) -> None:
    folder = make().folder
    assert skip.read(folder).dtype == np.int64 and len(skip.read(folder)) == 0
    skip.write(folder, ROWS)
    assert skip.read(folder).tolist() == [2, 9]
    assert skip.read_table(folder).to_pylist()[1] == asdict(ROWS[0])
    assert [path.name for path in folder.iterdir() if "part" in path.name] == []


def test_equal_lists_are_equal_bytes_and_no_rows_are_no_list(make: Callable[..., Dataset]) -> None:
    folder = make().folder
    skip.write(folder, ROWS)
    first = (folder / skip.FILE).read_bytes()
    skip.write(folder, ROWS[::-1])
    assert (folder / skip.FILE).read_bytes() == first
    skip.write(folder, [])
    assert not (folder / skip.FILE).exists() and not skip.undo(folder)
    skip.write(folder, ROWS)
    assert skip.undo(folder) and len(skip.read(folder)) == 0


def test_a_list_of_other_content_is_refused(make: Callable[..., Dataset], root: Path) -> None:
    folder = make("a").folder
    skip.write(folder, ROWS)
    other = make("b", count=8).folder
    (other / skip.FILE).write_bytes((folder / skip.FILE).read_bytes())
    with pytest.raises(VltkError, match=r"made for other content.*vltk data dedup"):
        skip.read(other)


@pytest.mark.parametrize("body", [b"", b"PAR1 and then nothing"])
def test_a_damaged_list_is_named(make: Callable[..., Dataset], body: bytes) -> None:
    folder = make().folder
    (folder / skip.FILE).write_bytes(body)
    with pytest.raises(VltkError, match=r"skip.parquet: no skip list"):
        skip.read(folder)
