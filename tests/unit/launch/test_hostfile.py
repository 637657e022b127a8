"""DeepSpeed's format; every mistake at once, with its line."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from vltk.errors import VltkError
from vltk.launch.hostfile import Host, hosts


def test_format(tmp_path: Path) -> None:
    file = tmp_path / "hosts"
    file.write_text("# nodes\nworker-1 slots=8\n\nworker-2   slots=4   # half of it\n")
    assert hosts(file) == [Host("worker-1", 8), Host("worker-2", 4)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no hosts in it"),
        ("a\nb slots=x\nc slots=0\n", r"hosts:1: 'a' should.*\n.*hosts:2: 'b slots=x'.*\n.*hosts:3: 'c slots=0'"),
        ("a slots=1\na slots=2\n", "hosts:2: a stands there twice"),
        ("localhost slots=1\nb slots=2\n", "the other hosts cannot reach this one as localhost"),
    ],
)
def test_mistakes(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "hosts"
    file.write_text(text)
    with pytest.raises(VltkError, match=said):
        hosts(file)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(VltkError, match="cannot be read"):
        hosts(tmp_path / "none")


def test_here() -> None:
    assert Host("localhost", 1).is_here() and Host(socket.gethostname(), 1).is_here()
    assert not Host("198.51.100.1", 1).is_here()  # an address that nobody has (RFC 5737)
    assert not Host("no-such-host.invalid", 1).is_here()
