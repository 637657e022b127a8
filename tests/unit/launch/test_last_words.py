"""A rank that ends leaves word of it, whatever goes wrong while it does."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any, NoReturn

import pytest

from vltk import pulse
from vltk.errors import VltkError
from vltk.launch import failure, last_words
from vltk.launch.failure import Failure
from vltk.pulse import Pulse


class Gone:
    """A store whose process is dead."""

    def get(self, key: str) -> NoReturn:
        raise RuntimeError("[c10d] Connection was likely closed. Did the remote server shutdown or crash?")


class Full:
    """A log on a full disk."""

    def write(self, text: str) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")


class Unwilling(Exception):
    """Cannot be told."""

    def __str__(self) -> str:
        raise ZeroDivisionError("no words")


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The pulse of a rank whose store is gone; what it says goes to a folder."""
    made: Any = Pulse.__new__(Pulse)
    made._store = Gone()
    monkeypatch.setattr(pulse, "_own", made)
    monkeypatch.setattr(last_words, "_terminal", (tmp_path / "terminal").open("w").fileno())
    monkeypatch.setenv(failure.FOLDER, str(tmp_path))
    return made


def word(folder: Path, code: int) -> Failure:
    return failure.read(folder, 0, "w", code, 0.0)


def test_the_store_is_gone(own: Any, tmp_path: Path) -> None:
    """With the first rank: what this one lost is its echo."""
    code = last_words.fail(RuntimeError("gloo: Connection closed by peer [127.0.0.1]:1"), None)
    assert (code, word(tmp_path, code).kind) == (failure.CUT, "echo")
    assert word(tmp_path, code).text.startswith("lost the connection to another rank")


def test_an_error_while_the_others_are_told(own: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are in the word that is left."""
    monkeypatch.setattr(own, "fail", lambda *given: 1 / 0, raising=False)
    code = last_words.fail(VltkError("no such data"), "no such data")
    left = word(tmp_path, code)
    assert (code, left.kind) == (last_words.CRASH, "crash")
    assert "no such data" in left.text and left.text.endswith("ZeroDivisionError: division by zero")


def test_an_error_without_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(failure.FOLDER, str(tmp_path))
    code = last_words.fail(Unwilling(), None)
    assert code == last_words.CRASH and "Unwilling" in word(tmp_path, code).text


def test_when_is_before_the_others_are_told(own: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which takes the first rank longer than the others."""
    clock = iter([5.0, 9.0])
    monkeypatch.setattr(last_words.time, "time", lambda: next(clock))
    monkeypatch.setattr(own, "fail", lambda *given: last_words.time.time(), raising=False)
    code = last_words.fail(VltkError("no such data"), "no such data")
    assert word(tmp_path, code).when == 5.0


def test_a_full_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither the log nor the launcher's folder takes it: it is shown where the rank was started."""
    with (tmp_path / "terminal").open("w") as terminal:
        monkeypatch.setattr(last_words, "_terminal", terminal.fileno())
        monkeypatch.setattr(last_words, "_log", Full())
        monkeypatch.setenv(failure.FOLDER, str(tmp_path / "gone"))
        assert last_words.fail(VltkError("no such data"), "no such data") == 1
    assert (tmp_path / "terminal").read_text() == "no such data\n"
