"""Finished pieces: read row by row when they hold what they say, dropped when they do not."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.data.pieces import write_piece
from vltk.data.fetch.output import Output
from vltk.data.fetch.packer import Packer, Round
from vltk.data.fetch.piece import Piece, outcomes
from vltk.data.prepare import Limits
from vltk.errors import VltkError


def test_a_piece_is_read_row_by_row(tmp_path: Path) -> None:
    piece = write_piece(tmp_path, failed="HTTP Error 404: vltk http_404 HTTP 404")
    assert [piece.number for piece in Output(tmp_path, [3]).finished()] == [0]
    first, second, last = outcomes(piece)
    assert (first.data, second.data, last.data) == (b"image 0", b"image 1", None)
    assert (first.status, last.status, last.detail) == ("ok", "http_404", "HTTP 404")
    assert [outcome.url for outcome in (first, last)] == ["http://a.example/0", "http://a.example/2"]


@pytest.mark.parametrize(
    ("message", "status"),
    [
        ("<urlopen error Tunnel connection failed: 403 vltk private_address x is 10.0.0.1>", "private_address"),
        ("HTTP Error 502: vltk no_such_word at all", "unknown_failure"),
        ("something new", "unknown_failure"),
    ],
)
def test_a_message_has_a_status(message: str, status: str, tmp_path: Path) -> None:
    *_, last = outcomes(write_piece(tmp_path, failed=message))
    assert last.status == status


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"lost": 1}, "2 of 3 rows arrived"),
        ({"members": 0}, "3 images by the rows, 0 in the tar"),  # a Latin-1 byte in a caption: "success 1.000"
        ({"members": 2}, "3 images by the rows, 2 in the tar"),
        ({"failed": "<urlopen error [Errno 111] Connection refused>"}, "without the proxy"),
        ({"failed": "IncompleteRead(5 bytes read)"}, "without the proxy"),
    ],
)
def test_a_piece_that_lies_is_dropped(
    options: dict[str, Any], problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_piece(tmp_path, **options)
    output = Output(tmp_path, [3])
    assert not list(output.finished())
    assert not list(tmp_path.iterdir())
    assert problem in capsys.readouterr().err


def _cut(path: Path, size: int) -> None:
    with path.open("r+b") as file:
        file.truncate(size)


@pytest.mark.parametrize(
    "damage",
    [
        lambda piece: _cut(piece.tar, 700),  # inside the first image
        lambda piece: _cut(piece.tar, 2048),  # after the first sample: reads clean
        lambda piece: _cut(piece.tar, 0),
        lambda piece: _cut(piece.parquet, 0),
        lambda piece: _cut(piece.parquet, 300),
        lambda piece: piece.tar.unlink(),
    ],
)
def test_a_piece_that_was_cut_is_dropped(damage: Callable[[Piece], None], tmp_path: Path) -> None:
    damage(write_piece(tmp_path))
    assert not list(Output(tmp_path, [3]).finished())
    assert not list(tmp_path.iterdir())


def test_a_byte_that_changed_on_disk_is_no_image(tmp_path: Path) -> None:
    piece = write_piece(tmp_path)
    with piece.tar.open("r+b") as tar:
        tar.seek(512)
        tar.write(b"X")
    first, second, _ = outcomes(piece)
    assert (first.status, first.data, second.status) == ("unknown_failure", None, "ok")


def test_a_piece_given_back_is_done_and_takes_no_disk(tmp_path: Path) -> None:
    write_piece(tmp_path).discard()
    assert [path.name for path in tmp_path.iterdir()] == ["packed"]
    output = Output(tmp_path, [3])
    assert not list(output.finished())
    assert output.complete
    output.clean()
    assert (tmp_path / "packed" / "00000_stats.json").exists()


def test_what_a_kill_left_of_a_piece_that_was_given_back_goes(tmp_path: Path) -> None:
    piece = write_piece(tmp_path)
    left = piece.tar.read_bytes()
    piece.discard()
    piece.tar.write_bytes(left)  # killed between the two steps
    output = Output(tmp_path, [3])
    output.clean()
    assert output.complete
    assert [path.name for path in tmp_path.iterdir()] == ["packed"]


def test_a_look_does_not_touch_what_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(20):
        write_piece(tmp_path, number).discard()
    kept = write_piece(tmp_path, 20)
    output, seen, real = Output(tmp_path, [3] * 21), list[str](), Path.stat

    def stat(path: Path, **how: Any) -> os.stat_result:
        seen.append(path.name)
        return real(path, **how)

    monkeypatch.setattr(Path, "stat", stat)
    assert list(output.finished()) == [kept]
    assert output.signs()[0] == 2 and output.complete
    assert not [name for name in seen if name < "00020"]


def test_half_pieces_and_stats_being_written_are_not_handed_out(tmp_path: Path) -> None:
    write_piece(tmp_path, 0)
    whole = write_piece(tmp_path, 1)
    _cut(tmp_path / "00000_stats.json", 10)
    (tmp_path / "00002.tar").write_bytes(b"half")
    (tmp_path / "_tmp").mkdir()
    output = Output(tmp_path, [3, 3, 3])
    assert list(output.finished()) == [whole]
    assert not output.complete
    output.clean()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00001.parquet", "00001.tar", "00001_stats.json"]


def test_who_is_behind_with_packing_takes_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def pack(self: Packer, group: int, pieces: list[Piece]) -> None:
        begun.append(group)
        assert go.wait(20)
        if group == 2:
            raise VltkError("the disk is full")

    def give() -> None:
        for number in range(6):
            packer.take(Piece(number, tmp_path, tmp_path))
            taken.append(number)

    begun, taken, go = list[int](), list[int](), threading.Event()
    monkeypatch.setattr(Packer, "_pack", pack)
    state: Any = SimpleNamespace(shards={})
    packer = Packer(tmp_path, state, Round(1, tmp_path, 6, 1, 0, last=True), Limits(), 1, lambda status: None)
    with pytest.raises(VltkError, match="the disk is full"), packer, ThreadPoolExecutor(1) as giver:
        giving = giver.submit(give)
        time.sleep(0.3)
        assert taken == [0]  # the second is whole, and waits in `take`
        go.set()
        giving.result()
    assert begun[:3] == [0, 1, 2] and len(taken) < 6
