"""What a run puts up with: steps left out, going back, giving up with a diagnosis; spikes are noted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.processes import in_processes
from vltk import checkpoint, dist
from vltk.errors import VltkError
from vltk.log import JsonLines
from vltk.recipe import Faults
from vltk.train import faults
from vltk.train.accumulate import Record
from vltk.train.faults import RollBack, Usual, Watch

NAN = math.nan


def watch(folder: Path, **options: Any) -> Watch:
    return Watch("toy/joint", Faults(**options), folder, folder / "checkpoints")


def record(**losses: float) -> Record:
    return Record({name: torch.tensor(loss) for name, loss in losses.items()})


def gives_up(watcher: Watch, step: int, stream: str, record: Record, norm: float, keys: Sequence[str]) -> None:
    assert not watcher.passes(step, stream, record, norm, False, keys) and watcher.is_full
    watcher.give_up()


def rows(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    JsonLines(folder / faults.FILE).keep(lambda row: not found.append(row))
    return found


def saved(folder: Path, step: int) -> None:
    held = list(checkpoint.shared([("weights", "a", torch.zeros(1))], rank=0, world=1))
    checkpoint.begin(folder / "checkpoints", step)
    checkpoint.write_share(folder / "checkpoints", step, held)
    checkpoint.finish(folder / "checkpoints", step, {"step": step}, keep=9)


@pytest.mark.parametrize("value", [NAN, math.inf, -math.inf])
def test_by_default_the_first_one_ends_the_run(value: float, tmp_path: Path) -> None:
    watcher = watch(tmp_path)
    assert watcher.passes(2, "pairs", record(itc=1.0, itm=2.0), 1e30, False, ["a/1"])
    with pytest.raises(VltkError, match="^toy/joint, step 3, stream pairs: the loss of mlm is not a finite number; no"):
        gives_up(watcher, 3, "pairs", record(itc=1.0, mlm=value), 1.0, ["a/1", "a/2"])
    row = {"step": 3, "stream": "pairs", "kind": "skipped", "what": "mlm", "attempt": 0, "rank": 0}
    assert rows(tmp_path) == [row | {"keys": ["a/1", "a/2"]}]


def test_gradients(tmp_path: Path) -> None:
    with pytest.raises(VltkError, match="the losses are finite, but their gradient is not a finite number"):
        gives_up(watch(tmp_path), 3, "pairs", record(itc=1.0), math.inf, [])


def test_a_gradient_too_large_for_the_loss_scale_is_no_fault(tmp_path: Path) -> None:
    watcher = watch(tmp_path)
    assert watcher.passes(3, "s", record(itc=1.0), math.inf, True, [])
    assert not watcher.passes(4, "s", record(itc=NAN), math.inf, True, []) and watcher.skipped == [4]


def test_skipped_up_to_a_limit(tmp_path: Path) -> None:
    """Those of the last steps count."""
    watcher = watch(tmp_path, skip=2)
    late = 5 + faults.WINDOW
    assert [watcher.passes(step, "s", record(itc=NAN), NAN, False, []) for step in (3, 5, late)] == [False] * 3
    assert watcher.skipped == [late]
    assert not watcher.passes(late + 1, "s", record(itc=NAN), NAN, False, [])
    saved(tmp_path, 4)
    with pytest.raises(VltkError, match="the checkpoint of step 4 is kept; 2 steps left out before it. Lower"):
        gives_up(watcher, late + 2, "s", record(itc=NAN), NAN, [])


def test_back_and_on_with_other_draws(tmp_path: Path) -> None:
    watcher = watch(tmp_path, rollbacks=1)
    with pytest.raises(VltkError, match="no checkpoint was written yet"):
        gives_up(watcher, 3, "s", record(itc=NAN), NAN, [])
    saved(tmp_path, 2)
    with pytest.raises(RollBack):
        gives_up(watcher, 3, "s", record(itc=NAN), NAN, [])
    watcher.roll_back({"attempt": 0, "skipped": [1], "usual": {}}, attempt=1)
    assert (watcher.attempt, watcher.skipped) == (1, [])
    with pytest.raises(VltkError, match="gone back once and on with other draws"):
        gives_up(watcher, 9, "s", record(itc=NAN), NAN, [])


def test_back_to_an_older_one(tmp_path: Path) -> None:
    """From the second return without a new checkpoint on, each time to the one before; while there is one."""
    watcher = watch(tmp_path, rollbacks=9)
    for step in (2, 4, 6):
        saved(tmp_path, step)
    went = []
    for attempt in range(5):
        if attempt == 3:
            saved(tmp_path, 3)  # progress
        with pytest.raises(RollBack):
            gives_up(watcher, 7, "s", record(itc=NAN), NAN, [])
        went.append(watcher.returned)
        watcher.roll_back({}, attempt + 1)
    assert went == [6, 4, 2, 3, 2]
    with pytest.raises(RollBack):
        watcher.give_up()
    assert watcher.returned == 2 and checkpoint.steps(tmp_path / "checkpoints") == [2]
    assert [path.name for path in sorted((tmp_path / "checkpoints").glob("*.ruined"))] == [
        f"step-0000000{step}.ruined" for step in (3, 4, 6)
    ]


def test_a_good_checkpoint_is_not_set_aside_for_a_damaged_one(tmp_path: Path) -> None:
    watcher = watch(tmp_path, rollbacks=2)
    for step in (2, 4):
        saved(tmp_path, step)
    (tmp_path / "checkpoints/step-00000002/state.json").unlink()
    for _ in range(2):
        with pytest.raises(RollBack):
            watcher.give_up()
        assert watcher.returned == 4


@pytest.mark.parametrize(("precision", "remedy"), [("fp32", False), ("bf16", True)])
def test_the_remedy_is_not_what_was_tried(precision: str, remedy: bool, tmp_path: Path) -> None:
    options = Faults(skip=8, rollbacks=1)
    watcher = Watch("toy/joint", options, tmp_path, tmp_path / "checkpoints", precision, attempt=1, skipped=[5])
    with pytest.raises(VltkError) as error:
        watcher.ruined(7)
    said = str(error.value)
    assert said.startswith("toy/joint: after step 7 there are weights or moments that are not finite numbers; no check")
    assert "was written yet; 1 step left out before it and gone back once and on with other draws. Lower" in said
    assert "faults.skip=16 faults.rollbacks=3 go on" in said and ("precision=fp32" in said) is remedy


def noted_together(folder: str) -> list[dict[str, Any]]:
    """Each rank has samples of its own; one of them writes."""
    own = Path(folder)
    watch(own if dist.is_main() else Path("/nowhere"), skip=1).passes(
        3, "s", record(itc=NAN), NAN, False, [f"a/{dist.rank()}"]
    )
    return [] if dist.rank() else rows(own)


def test_the_first_rank_writes_for_all(tmp_path: Path) -> None:
    found = in_processes(2, noted_together, tmp_path, str(tmp_path))
    assert [(row["rank"], row["keys"]) for row in found] == [(0, ["a/0"]), (1, ["a/1"])]


def test_a_checkpoint_keeps_it(tmp_path: Path) -> None:
    watcher = watch(tmp_path, skip=5)
    for step in range(80):
        watcher.passes(step, "s", record(itc=NAN if step == 7 else 1 / (step + 1)), 1.0, False, [])
    other = watch(tmp_path, skip=5)
    other.recall(watcher.facts())
    assert other == watcher and other.usual["s"].count == 79
    other.recall({})
    assert (other.attempt, other.skipped, other.usual) == (0, [], {})


def test_a_spike(tmp_path: Path) -> None:
    """Noted once its stream has settled, with its samples; the run goes on."""
    watcher = watch(tmp_path)
    for step in range(60):
        assert watcher.passes(step, "s", record(itc=1 + 0.01 * (step % 3)), 1.0, False, [])
    assert watcher.passes(60, "s", record(itc=1.0, itm=0.5), 1.0, False, ["a/7"])
    (row,) = rows(tmp_path)
    assert (row["step"], row["kind"], row["loss"], row["keys"]) == (60, "spike", 1.5, ["a/7"])
    assert row["usual"] == pytest.approx(1.01, abs=1e-3)
    assert watch(tmp_path, spike=None).passes(0, "s", record(itc=1e9), 1.0, False, []) and len(rows(tmp_path)) == 1


def test_falling_losses_are_no_spikes() -> None:
    usual = Usual()
    for step in range(300):
        loss = 5 / (1 + step / 20) + 0.1 * math.sin(step)
        assert not usual.is_spike(loss, 6.0)
        usual.add(loss)
    assert usual.is_spike(5.0, 6.0)


def test_what_is_done_again_is_dropped(tmp_path: Path) -> None:
    """By a run that goes on from step 4: of earlier attempts all is kept."""
    lines = JsonLines(tmp_path / faults.FILE)
    for attempt, step in ((0, 9), (1, 3), (1, 4)):
        lines.write({"step": step, "attempt": attempt})
    faults.forget(tmp_path, first=4, attempt=1)
    assert [(row["attempt"], row["step"]) for row in rows(tmp_path)] == [(0, 9), (1, 3)]
