"""A checkpoint of some processes and ZeRO stage is taken up by others: training goes on as if nothing had happened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.processes import in_processes
from tests.towers import OPTIONS, STEPS, batch_of, made, one_step, run, state_of, zero_of
from vltk import checkpoint, dist
from vltk.checkpoint import Saved
from vltk.errors import VltkError
from vltk.recipe import Checkpoints
from vltk.train.engines.torch import Torch
from vltk.train.saving import Saver, newest_good
from vltk.train.together import Elsewhere

FIRST, SECOND = 7, 13
LAYOUTS = {"zero-2": 4, "zero-3": 2, "zero-1": 3, "torch": 2}  # engine: processes


def build(name: str) -> Any:
    toy, found = made()
    if name == "torch":
        return Torch(toy, found, OPTIONS, "fp32")
    from vltk.train.engines.deepspeed import DeepSpeed

    zero = zero_of(int(name[-1]))
    return DeepSpeed(toy, found, OPTIONS, "fp32", {"zero_optimization": zero})


def go_on(name: str, folder: str, first: int, last: int) -> list[tuple[float, float]]:
    """Trains from the newest checkpoint on, and saves beside training, one step before the end; the rest is lost."""
    engine, home = build(name), Path(folder)
    if first:
        found = newest_good(home)
        assert found is not None and found.step == first
        engine.load(Saved(found.path))
    pairs = []
    with Saver(home, Checkpoints(keep=1)) as saver:
        for step in range(first, last + 1):
            if step == last:
                saver.save(step, engine.pieces(), {"step": step})
            pairs.append(one_step(engine, step, batch_of(step)))
            saver.look()
    return pairs[:-1]


@pytest.fixture(scope="module")
def alone() -> list[tuple[float, float]]:
    return list(run(Torch(*made(), OPTIONS, "fp32"), 0, STEPS))


def near(pairs: list[tuple[float, float]]) -> list[Any]:
    return [pytest.approx(list(pair), rel=1e-4) for pair in pairs]


def test_four_ranks_of_zero_2_then_two_of_zero_3_then_one_of_torch(tmp_path: Path, alone: Any) -> None:
    pairs = in_processes(4, go_on, tmp_path, "zero-2", str(tmp_path), 0, FIRST)
    assert pairs == near(alone[:FIRST])
    held = checkpoint.files_of(tmp_path / f"step-{FIRST:08d}")
    assert held == [f"rank-{rank:05d}.safetensors" for rank in range(4)]  # each its own part
    sizes = [(tmp_path / f"step-{FIRST:08d}" / name).stat().st_size for name in held]
    assert max(sizes) < 0.5 * sum(sizes)
    engine = build("torch")
    engine.load(Saved(tmp_path / f"step-{FIRST:08d}"))
    assert [list(pair) for pair in run(engine, FIRST, STEPS)] == near(alone[FIRST:])  # straight to one torch process
    pairs = in_processes(2, go_on, tmp_path, "zero-3", str(tmp_path), FIRST, SECOND)
    assert pairs == near(alone[FIRST:SECOND])
    engine = build("torch")
    engine.load(Saved(tmp_path / f"step-{SECOND:08d}"))
    assert [list(pair) for pair in run(engine, SECOND, STEPS)] == near(alone[SECOND:])


def damaged(folder: str) -> dict[str, Any]:
    """What every rank takes where a file of the newest one is damaged, and of a folder whose files all are."""
    found = newest_good(Path(folder))
    assert found is not None
    same = dist.gather(dist.torch.tensor([found.step]))
    try:
        newest_good(Path(folder) / "all")
        refused = 0
    except VltkError:
        refused = 1
    return {
        "steps": same.tolist(), "said": found.damaged, "refused": dist.gather(dist.torch.tensor([refused])).tolist()
    }  # fmt: skip


def write(folder: Path, step: int, world: int) -> Path:
    engine = Torch(*made(), OPTIONS, "fp32")
    list(run(engine, 0, 3))
    state = [(kind, name, tensor) for kind, named in state_of(engine).items() for name, tensor in named.items()]
    checkpoint.begin(folder, step)
    for rank in range(world):
        checkpoint.write_share(folder, step, list(checkpoint.shared(state, rank, world)), rank)
    return checkpoint.finish(folder, step, {}, world, keep=3)


def test_damage_that_one_rank_finds_is_known_to_all(tmp_path: Path) -> None:
    write(tmp_path, 5, 2)
    for path in (write(tmp_path, 10, 2), write(tmp_path / "all", 5, 1)):
        file = path / checkpoint.files_of(path)[-1]
        content = bytearray(file.read_bytes())
        content[-3] ^= 1
        file.write_bytes(content)
    found = in_processes(2, damaged, tmp_path, str(tmp_path))
    assert found["steps"] == [5, 5] and found["refused"] == [1, 1]
    assert len(found["said"]) == 1 and "rank-00001.safetensors does not have its checksum" in found["said"][0]


def failing(folder: str) -> list[int]:
    """Where the disk of one rank fails: which error each rank ends with, and in which step."""
    from vltk.checkpoint import writing

    home, engine = Path(folder), build("torch")
    ends = -1
    with_saver = Saver(home, Checkpoints(keep=2))
    try:
        with with_saver as saver:
            saver.save(1, engine.pieces(), {})
            saver.finish()
            if dist.rank() == 1:

                def full(*_: Any) -> None:
                    raise OSError(28, "No space left on device")

                writing.write = full  # type: ignore[assignment]
            saver.save(2, engine.pieces(), {})
            for _ in range(1000):
                one_step(engine, 0, batch_of(0))
                saver.look()
    except VltkError as error:
        assert "step 2 not written" in str(error) and "step-00000001 is untouched" in str(error)
        ends = 0
    except Elsewhere:
        ends = 1
    return dist.gather(dist.torch.tensor([ends])).tolist()


def test_a_rank_whose_disk_is_full_ends_all(tmp_path: Path) -> None:
    assert in_processes(2, failing, tmp_path, str(tmp_path / "checkpoints")) == [1, 0]
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000001"]
