"""Checkpoints are whole or not there: full disks, killed writers, damaged files."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from vltk import checkpoint
from vltk.errors import VltkError

Tensors = dict[str, dict[str, Tensor]]


def tensors(seed: int, size: int = 64) -> Tensors:
    source = torch.Generator().manual_seed(seed)
    return {
        "weights": {"a.weight": torch.randn(size, 3, generator=source), "seen": torch.tensor(seed)},
        "exp_avg": {"a.weight": torch.randn(size, 3, generator=source)},
        "steps": {"a.weight": torch.tensor(float(seed))},
        "helpers": {},
    }


def same(left: Tensors, right: Tensors) -> bool:
    return {k: set(v) for k, v in left.items()} == {k: set(v) for k, v in right.items()} and all(
        torch.equal(tensor, right[kind][name]) for kind, named in left.items() for name, tensor in named.items()
    )


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    facts = {"positions": {"pairs": 7}, "attempt": 0, "best": None}
    path = checkpoint.save(tmp_path / "checkpoints", 12, tensors(1), facts, keep=2)
    loaded, found = checkpoint.load(path)
    assert same(loaded, tensors(1))
    assert found == facts


def test_keeps_the_newest(tmp_path: Path) -> None:
    for step in (5, 10, 15):
        checkpoint.save(tmp_path, step, tensors(step), {}, keep=2)
    assert names(tmp_path) == ["step-00000010", "step-00000015"]
    newest = checkpoint.newest_good(tmp_path)
    assert newest == checkpoint.Checkpoint(tmp_path / "step-00000015", 15, ())


def test_none_where_nothing_was_saved(tmp_path: Path) -> None:
    assert checkpoint.newest_good(tmp_path / "absent") is None
    assert checkpoint.newest_good(tmp_path) is None


def test_same_step_again_replaces_it(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, 5, tensors(1), {"attempt": 0}, keep=2)
    path = checkpoint.save(tmp_path, 5, tensors(2), {"attempt": 1}, keep=2)
    assert names(tmp_path) == ["step-00000005"]
    loaded, facts = checkpoint.load(path)
    assert same(loaded, tensors(2)) and facts == {"attempt": 1}


@pytest.mark.parametrize("file", ["weights.safetensors", "moments.safetensors", "state.json"])
@pytest.mark.parametrize("how", ["truncated", "changed", "deleted"])
def test_damaged_newest_falls_back_and_says_so(tmp_path: Path, file: str, how: str) -> None:
    checkpoint.save(tmp_path, 5, tensors(5), {"position": 5}, keep=2)
    damaged = checkpoint.save(tmp_path, 10, tensors(10), {"position": 123456}, keep=2) / file
    content = damaged.read_bytes()
    if how == "truncated":
        damaged.write_bytes(content[: len(content) // 2])
    elif how == "changed":
        at = content.index(b"123456") if file == "state.json" else len(content) - 5
        damaged.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    else:
        damaged.unlink()
    found = checkpoint.newest_good(tmp_path)
    assert found is not None and found.step == 5
    (said,) = found.damaged
    assert "step-00000010" in said
    assert same(checkpoint.load(found.path)[0], tensors(5))


def test_all_damaged_is_an_error(tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path, 5, tensors(5), {}, keep=2)
    (path / "weights.safetensors").write_bytes(b"")
    with pytest.raises(VltkError, match=r"no good checkpoint(.|\n)*has 0 bytes instead of(.|\n)*delete"):
        checkpoint.newest_good(tmp_path)


def test_full_disk_leaves_the_older(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint.save(tmp_path, 5, tensors(5), {}, keep=1)

    def full(tensors: dict[str, Tensor], path: Path) -> None:
        path.write_bytes(b"half of it")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(VltkError, match=r"step 10 not written(.|\n)*No space left(.|\n)*step-00000005 is untouched"):
        checkpoint.save(tmp_path, 10, tensors(10), {}, keep=1)
    assert names(tmp_path) == ["step-00000005"]
    found = checkpoint.newest_good(tmp_path)
    assert found is not None and found.step == 5 and not found.damaged


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    mounted = tmp_path / "disk"
    mounted.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(mounted)], capture_output=True, check=False
    )
    if mount.returncode:
        pytest.skip(f"no permission to mount a small disk: {mount.stderr.decode().strip()}")
    yield mounted
    subprocess.run(["umount", str(mounted)], check=True)


def test_a_disk_that_is_really_full(small_disk: Path) -> None:
    folder = small_disk / "checkpoints"
    checkpoint.save(folder, 5, tensors(5, size=20_000), {}, keep=2)  # 0.5 MB
    with pytest.raises(
        VltkError, match=r"(?i)step 10 not written(.|\n)*no space left(.|\n)*step-00000005 is untouched"
    ):
        checkpoint.save(folder, 10, tensors(10, size=30_000), {}, keep=2)
    assert names(folder) == ["step-00000005"]
    assert same(checkpoint.load(folder / "step-00000005")[0], tensors(5, size=20_000))


KILLED = """
import os, sys, time, torch
from pathlib import Path
from vltk import checkpoint
real = checkpoint.save_file
def slow(tensors, path):
    real(tensors, path)
    if path.name == "moments.safetensors":
        Path(sys.argv[1], "writing").touch()
        time.sleep(60)
checkpoint.save_file = slow
checkpoint.save(Path(sys.argv[1], "checkpoints"), 10, {"weights": {"a": torch.ones(9)}}, {}, keep=2)
"""


def test_killed_while_saving(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    checkpoint.save(folder, 5, tensors(5), {}, keep=2)
    writer = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], env=os.environ | {"OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 50
    while not (tmp_path / "writing").exists():
        assert writer.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert names(folder) == ["step-00000005", "step-00000010.part"]
    found = checkpoint.newest_good(folder)
    assert found is not None and found.step == 5 and not found.damaged
    checkpoint.save(folder, 7, tensors(7), {}, keep=2)
    assert names(folder) == ["step-00000005", "step-00000007"]


def test_nothing_is_pickled(tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path, 5, tensors(5), {"a": 1}, keep=1)
    assert names(path) == ["moments.safetensors", "state.json", "weights.safetensors"]
    assert json.loads((path / "state.json").read_text())["facts"] == {"a": 1}
