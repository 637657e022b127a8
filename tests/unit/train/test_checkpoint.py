"""Checkpoints are whole or not there: full disks, killed writers, damaged files."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from vltk import checkpoint
from vltk.checkpoint import writing
from vltk.errors import VltkError

Tensors = dict[str, dict[str, Tensor]]


def tensors(seed: int, size: int = 64) -> Tensors:
    source = torch.Generator().manual_seed(seed)
    return {
        "weights": {"a.weight": torch.randn(size, 3, generator=source), "seen": torch.tensor(seed)},
        "exp_avg": {"a.weight": torch.randn(size, 3, generator=source)},
        "steps": {"a.weight": torch.tensor(float(seed))},
    }


def save(
    folder: Path, step: int, tensors: Tensors, facts: dict[str, Any], keep: int = 1, world: int = 1, **more: Any
) -> Path:
    """What `world` processes would do."""
    checkpoint.begin(folder, step)
    every = [(kind, name, tensor) for kind, named in tensors.items() for name, tensor in named.items()]
    for rank in range(world):
        checkpoint.write_share(folder, step, checkpoint.snapshot(checkpoint.shared(every, rank, world)), rank)
    return checkpoint.finish(folder, step, facts, world, keep, **more)


def load(path: Path) -> tuple[Tensors, dict[str, Any]]:
    held = checkpoint.Saved(path)
    kinds = ("weights", "exp_avg", "steps", "average")
    return {kind: held.tensors(kind) for kind in kinds if held.shapes(kind)}, held.facts


def same(left: Tensors, right: Tensors) -> bool:
    return {k: set(v) for k, v in left.items()} == {k: set(v) for k, v in right.items()} and all(
        torch.equal(tensor, right[kind][name]) for kind, named in left.items() for name, tensor in named.items()
    )


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("world", [1, 2, 3, 7])
def test_comes_back_as_it_was_saved(tmp_path: Path, world: int) -> None:
    facts = {"positions": {"pairs": 7}, "attempt": 0, "best": None}
    path = save(tmp_path / "checkpoints", 12, tensors(1), facts, keep=2, world=world)
    sizes = [(path / f"rank-{rank:05d}.safetensors").stat().st_size for rank in range(world)]
    assert len(checkpoint.files_of(path)) == world and max(sizes) - min(sizes) < 400  # equal shares
    loaded, found = load(path)
    assert same(loaded, tensors(1))
    assert found == facts


def test_keeps_the_newest(tmp_path: Path) -> None:
    for step in (5, 10, 15):
        save(tmp_path, step, tensors(step), {}, keep=2)
    assert names(tmp_path) == ["step-00000010", "step-00000015"]
    newest = checkpoint.newest_good(tmp_path)
    assert newest == checkpoint.Checkpoint(tmp_path / "step-00000015", 15, ())


def test_none_where_nothing_was_saved(tmp_path: Path) -> None:
    assert checkpoint.newest_good(tmp_path / "absent") is None
    assert checkpoint.newest_good(tmp_path) is None


def test_same_step_again_replaces_it(tmp_path: Path) -> None:
    save(tmp_path, 5, tensors(1), {"attempt": 0}, keep=2)
    path = save(tmp_path, 5, tensors(2), {"attempt": 1}, keep=2)
    assert names(tmp_path) == ["step-00000005"]
    loaded, facts = load(path)
    assert same(loaded, tensors(2)) and facts == {"attempt": 1}


@pytest.mark.parametrize("file", ["rank-00000.safetensors", "rank-00001.safetensors", "state.json"])
@pytest.mark.parametrize("how", ["truncated", "changed", "deleted"])
def test_damaged_newest_falls_back_and_says_so(tmp_path: Path, file: str, how: str) -> None:
    save(tmp_path, 5, tensors(5), {"position": 5}, keep=2, world=2)
    damaged = save(tmp_path, 10, tensors(10), {"position": 123456}, keep=2, world=2) / file
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
    assert same(load(found.path)[0], tensors(5))


@pytest.mark.parametrize("keep", [1, 2])
def test_a_damaged_later_one_takes_the_place_of_no_good_one(tmp_path: Path, keep: int) -> None:
    """A run that goes on from the older one saves before it comes to the step of the damaged one."""
    for step in (5, 10):
        path = save(tmp_path, step, tensors(step), {}, keep=2)
    (path / "rank-00000.safetensors").write_bytes(b"")
    save(tmp_path, 7, tensors(7), {}, keep=keep)
    assert names(tmp_path) == [f"step-{step:08d}" for step in ((5,) if keep == 2 else ()) + (7, 10)]
    found = checkpoint.newest_good(tmp_path)
    assert found is not None and found.step == 7
    (said,) = found.warnings
    assert said.startswith(f"{tmp_path}/step-00000010: ") and said.endswith("taking the older checkpoint of step 7")
    save(tmp_path, 10, tensors(10), {}, keep=keep)
    assert names(tmp_path) == [f"step-{step:08d}" for step in ((7,) if keep == 2 else ()) + (10,)]


def test_all_damaged_is_an_error(tmp_path: Path) -> None:
    path = save(tmp_path, 5, tensors(5), {}, keep=2)
    (path / "rank-00000.safetensors").write_bytes(b"")
    with pytest.raises(VltkError, match=r"no good checkpoint(.|\n)*has 0 bytes instead of(.|\n)*delete"):
        checkpoint.newest_good(tmp_path)


def test_full_disk_leaves_the_older(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, 5, tensors(5), {}, keep=1)

    def full(path: Path, *_: Any) -> None:
        path.write_bytes(b"half of it")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(writing, "write", full)
    with pytest.raises(VltkError, match=r"step 10 not written(.|\n)*No space left(.|\n)*step-00000005 is untouched"):
        save(tmp_path, 10, tensors(10), {}, keep=1)
    checkpoint.give_up(tmp_path, 10)
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
    save(folder, 5, tensors(5, size=20_000), {}, keep=2)  # 0.5 MB
    with pytest.raises(
        VltkError, match=r"(?i)step 10 not written(.|\n)*no space left(.|\n)*step-00000005 is untouched"
    ):
        save(folder, 10, tensors(10, size=30_000), {}, keep=2)
    checkpoint.give_up(folder, 10)
    assert names(folder) == ["step-00000005"]
    assert same(load(folder / "step-00000005")[0], tensors(5, size=20_000))


KILLED = """
import sys, time, torch
from pathlib import Path
from vltk import checkpoint
from vltk.checkpoint import writing
real = writing.write
def slow(path, *more):
    written = real(path, *more)
    Path(sys.argv[1], "writing").touch()
    time.sleep(60)
writing.write = slow
from vltk.recipe import Checkpoints
from vltk.train.saving import Saver
with Saver(Path(sys.argv[1], "checkpoints"), Checkpoints(asynchronous=True)) as saver:
    saver.save(10, checkpoint.shared([("weights", "a", torch.ones(9))], 0, 1), {})
    while True:
        saver.look()
        time.sleep(0.01)
"""


def test_killed_while_a_thread_writes(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    save(folder, 5, tensors(5), {}, keep=2)
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
    save(folder, 7, tensors(7), {}, keep=2)
    assert names(folder) == ["step-00000005", "step-00000007"]


def test_nothing_is_pickled(tmp_path: Path) -> None:
    path = save(tmp_path, 5, tensors(5), {"a": 1}, keep=1)
    assert names(path) == ["rank-00000.safetensors", "state.json"]
    assert json.loads((path / "state.json").read_text())["facts"] == {"a": 1}


def test_files_are_safetensors_for_anyone(tmp_path: Path) -> None:
    """Whole tensors under their own shapes, read by the library itself."""
    path = save(tmp_path, 5, tensors(5), {}, keep=1)
    held = load_file(path / "rank-00000.safetensors")
    assert held["weights/a.weight"].equal(tensors(5)["weights"]["a.weight"])
    assert held["weights/seen"].dtype == torch.int64 and held["weights/seen"] == 5


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int32, torch.float64, torch.bfloat16])
def test_types_of_numbers(tmp_path: Path, dtype: torch.dtype) -> None:
    given = {"weights": {"odd": torch.tensor([1, 0, 1]).to(dtype), "b": torch.ones(2), "none": torch.zeros(0, 3)}}
    found = load(save(tmp_path, 5, given, {}, world=2))[0]["weights"]
    assert found["odd"].tolist() == [1, 0, 1] and found["none"].shape == (0, 3)
    assert found["odd"].dtype == (torch.float32 if dtype.is_floating_point else dtype)


def test_parts_are_read_alone(tmp_path: Path) -> None:
    path = save(tmp_path, 5, tensors(5), {}, world=3)
    held, whole = checkpoint.Saved(path), tensors(5)["weights"]["a.weight"].flatten()
    for start, stop in ((0, 192), (0, 1), (60, 140), (191, 192), (5, 5)):
        assert held.read("weights", "a.weight", start, stop).equal(whole[start:stop])


def test_a_snapshot_is_a_copy(tmp_path: Path) -> None:
    weight = torch.ones(4)
    pieces = checkpoint.snapshot(checkpoint.shared([("weights", "a", weight)], 0, 1))
    weight.zero_()
    checkpoint.begin(tmp_path, 1)
    checkpoint.write_share(tmp_path, 1, pieces)
    assert load(checkpoint.finish(tmp_path, 1, {}))[0]["weights"]["a"].tolist() == [1, 1, 1, 1]


def test_some_stay_for_good(tmp_path: Path) -> None:
    for step in range(1, 13):
        save(tmp_path, step, tensors(step), {}, keep=2, keep_every=5, wanted=(3,))
    assert checkpoint.steps(tmp_path) == [12, 11, 10, 5, 3]


def test_a_clock_that_jumps(tmp_path: Path) -> None:
    """Which one is the newest is a matter of steps: times of files say nothing."""
    for step, moment in ((5, 4e9), (10, 1e9), (15, 0)):
        path = save(tmp_path, step, tensors(step), {}, keep=2)
        for file in (*path.iterdir(), path):
            os.utime(file, (moment, moment))
    assert checkpoint.steps(tmp_path) == [15, 10]
    newest = checkpoint.newest_good(tmp_path)
    assert newest is not None and newest.step == 15


def test_killed_while_one_of_the_same_step_is_replaced(tmp_path: Path) -> None:
    path = save(tmp_path, 5, tensors(5), {})
    path.rename(tmp_path / "step-00000005.old.part")
    (tmp_path / "step-00000005.part").mkdir()
    checkpoint.restore(tmp_path)
    found = checkpoint.newest_good(tmp_path)
    assert found is not None and found.step == 5


def test_a_file_that_is_not_of_this_checkpoint(tmp_path: Path) -> None:
    """Pieces that do not make whole tensors are refused, whatever their checksums say."""
    path = save(tmp_path, 5, tensors(5), {}, world=3)
    described = json.loads((path / "state.json").read_text())
    del described["files"]["rank-00001.safetensors"]
    (path / "state.json").write_text(json.dumps(described))
    assert checkpoint.damage(path) == "state.json does not have its checksum"
    with pytest.raises(VltkError, match="pieces of .* are missing"):
        checkpoint.Saved(path)


def test_a_later_format_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path, 5, tensors(5), {})
    described = json.loads((path / "state.json").read_text())
    (path / "state.json").write_text(json.dumps(described | {"format": 3}))
    with pytest.raises(VltkError, match=r"is of format 3, this vltk reads up to 2"):
        checkpoint.Saved(path)


def old_format(path: Path, step: int) -> None:
    """A checkpoint as vltk 0.1 to 0.3 wrote them."""
    path.mkdir(parents=True)
    given = tensors(step)
    save_file(given["weights"], path / "weights.safetensors")
    others = {f"{kind}/{name}": t for kind in ("exp_avg", "steps") for name, t in given[kind].items()}
    save_file(others, path / "moments.safetensors")
    files = {
        name: {"bytes": (path / name).stat().st_size, "sha256": hashlib.sha256((path / name).read_bytes()).hexdigest()}
        for name in ("weights.safetensors", "moments.safetensors")
    }
    facts = {"step": step}
    mark = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    described = {"step": step, "kinds": ["exp_avg", "steps"], "facts": facts, "sha256": mark, "files": files}
    (path / "state.json").write_text(json.dumps(described))


def test_format_1_still_loads(tmp_path: Path) -> None:
    old_format(tmp_path / "step-00000005", 5)
    found = checkpoint.newest_good(tmp_path)
    assert found is not None and found.step == 5
    loaded, facts = load(found.path)
    assert same(loaded, tensors(5)) and facts == {"step": 5}
    (found.path / "moments.safetensors").write_bytes(b"")
    with pytest.raises(VltkError, match=r"moments\.safetensors has 0 bytes instead of"):
        checkpoint.newest_good(tmp_path)


def test_a_read_only_folder(small_disk: Path) -> None:
    folder = small_disk / "checkpoints"
    save(folder, 5, tensors(5), {})
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(VltkError, match=r"step 10 not written(.|\n)*Read-only(.|\n)*step-00000005 is untouched"):
        save(folder, 10, tensors(10), {})
    found = checkpoint.newest_good(folder)
    assert found is not None and found.step == 5 and names(folder) == ["step-00000005"]
