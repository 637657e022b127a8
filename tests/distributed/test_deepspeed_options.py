"""DeepSpeed without a launcher, with parts of its state kept on the CPU, and in low precision."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.processes import in_processes
from tests.towers import OPTIONS, STEPS, Held, batch_of, changes, made, one_step, run, state_of, trained_by, zero_of
from vltk.train.engines.torch import Torch

OPTIONS_OF = {
    "offload-2": {"stage": 2, "offload_optimizer": {"device": "cpu"}},
    "offload-3": {"stage": 3, "offload_optimizer": {"device": "cpu"}, "offload_param": {"device": "cpu"}},
    "persistent-3": {"stage": 3, "sub_group_size": 20},
    "overlap-2": {"stage": 2, "overlap_comm": True, "reduce_bucket_size": 50},
}
LOW = {
    f"{precision}-{name}": (precision, zero)
    for precision in ("bf16", "fp16")
    for name, zero in {
        **{str(stage): zero_of(stage) for stage in (0, 1, 2, 3)},
        "offload-2": OPTIONS_OF["offload-2"],
        "offload-3": OPTIONS_OF["offload-3"],
    }.items()
}
OVERFLOWS = 6  # the step whose scale is too large for fp16


def trained(zero: dict[str, Any], precision: Any = "fp32") -> dict[str, Any]:
    """Losses and norms of all steps, and at which a parameter changed that should not have, or the reverse."""
    from vltk.train.engines.deepspeed import DeepSpeed

    toy, found = made()
    return followed(DeepSpeed(toy, found, OPTIONS, precision, {"zero_optimization": zero}), found)


def followed(engine: Any, found: list[Any]) -> dict[str, Any]:
    """What `trained` says of an engine; with a loss scale one step is made to overflow."""
    pairs, wrong, scales, before = [], [], [], state_of(engine)
    for step in range(STEPS):
        if engine.scale.dynamic:
            engine.scale.value = 2.0**40 if step == OVERFLOWS else 256.0
        pairs.append(one_step(engine, step, batch_of(step), micro_batches=2))
        after = state_of(engine)
        if changes(before, after) != (set() if engine.scale.overflowed else trained_by(found, step)):
            wrong.append(step)
        scales.append(engine.scale.value)
        before = after
    engine.load(Held(before))
    kept = state_of(engine)
    return {"pairs": pairs, "wrong": wrong, "kept": not changes(before, kept), "scales": scales}


@pytest.fixture(scope="module")
def alone() -> list[Any]:
    pairs = run(Torch(*made(), OPTIONS, "fp32"), 0, STEPS)
    return [pytest.approx(list(pair), rel=1e-4) for pair in pairs]


def every(names: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {name: trained(zero) for name, zero in names.items()}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return in_processes(2, every, tmp_path_factory.mktemp("options"), OPTIONS_OF)


def low(cases: dict[str, Any]) -> dict[str, Any]:
    return {name: trained(zero, precision) for name, (precision, zero) in cases.items()}


@pytest.fixture(scope="module")
def found_low(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return in_processes(2, low, tmp_path_factory.mktemp("low"), LOW)


@pytest.mark.parametrize("name", LOW)
def test_low_precision_leaves_idle_towers_alone(name: str, found_low: dict[str, Any]) -> None:
    """With accumulation and offload; a step that overflows changes nothing at all."""
    assert found_low[name]["wrong"] == [] and found_low[name]["kept"]


@pytest.mark.parametrize("name", [name for name in LOW if name.startswith("fp16")])
def test_an_overflow_is_left_out_and_halves_the_scale(name: str, found_low: dict[str, Any]) -> None:
    """The losses and norms are those of one torch process, which leaves the same step out."""
    toy, groups = made()
    wanted = followed(Torch(toy, groups, OPTIONS, "fp16"), groups)
    assert found_low[name]["scales"] == wanted["scales"]
    assert wanted["scales"][OVERFLOWS - 1 : OVERFLOWS + 1] == [256.0, 2.0**39] and wanted["wrong"] == []
    finite = [step for step in range(STEPS) if step != OVERFLOWS]
    assert [found_low[name]["pairs"][step] for step in finite] == [
        pytest.approx(list(wanted["pairs"][step]), rel=0.02) for step in finite
    ]


@pytest.mark.parametrize("name", OPTIONS_OF)
def test_options_change_nothing(name: str, found: dict[str, Any], alone: list[Any]) -> None:
    assert found[name]["pairs"] == alone
    assert found[name]["wrong"] == [] and found[name]["kept"]


ALONE = """
import json, sys
from tests.distributed.test_deepspeed_options import every, trained
from vltk import dist
from vltk.errors import RecipeError
try:
    trained({"stage": 2, "overlap_com": True})
except RecipeError as error:
    assert "overlap_com: DeepSpeed has no such option" in str(error), error
found = every({str(stage): {"stage": stage} for stage in (0, 1, 3)})
dist.stop()
print("found", json.dumps(found))
"""


def test_one_process_needs_no_launcher(alone: list[Any]) -> None:
    root = Path(__file__).parents[2]
    names = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ALONE], cwd=root, env=names | {"PYTHONPATH": str(root)},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    *said, last = ran.stdout.strip().splitlines()
    assert said == [] and ran.stderr == ""  # DeepSpeed is quiet
    for result in json.loads(last.removeprefix("found ")).values():
        assert result["pairs"] == alone
        assert result["wrong"] == [] and result["kept"]
