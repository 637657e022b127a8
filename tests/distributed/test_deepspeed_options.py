"""DeepSpeed without a launcher, and with parts of its state kept on the CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.processes import in_processes
from tests.towers import OPTIONS, STEPS, Held, batch_of, changes, made, one_step, run, state_of, trained_by
from vltk import dist
from vltk.train.engines.torch import Torch

OPTIONS_OF = {
    "offload-2": {"stage": 2, "offload_optimizer": {"device": "cpu"}},
    "offload-3": {"stage": 3, "offload_optimizer": {"device": "cpu"}, "offload_param": {"device": "cpu"}},
    "persistent-3": {"stage": 3, "sub_group_size": 20},
    "round-robin-2": {"stage": 2, "round_robin_gradients": True, "overlap_comm": True, "reduce_bucket_size": 50},
}


def trained(zero: dict[str, Any]) -> dict[str, Any]:
    """Losses and norms of all steps, and at which a parameter changed that should not have, or the reverse."""
    from vltk.train.engines.deepspeed import DeepSpeed

    toy, found = made()
    engine = DeepSpeed(toy, found, OPTIONS, "fp32", {"zero_optimization": zero})
    pairs, wrong, before = [], [], state_of(engine)
    for step in range(STEPS):
        pairs.append(one_step(engine, step, batch_of(step), micro_batches=2))
        after = state_of(engine)
        if dist.is_main() and changes(before, after) != trained_by(found, step):
            wrong.append(step)
        before = after
    engine.load(Held(before))
    kept = state_of(engine)
    return {"pairs": pairs, "wrong": wrong, "kept": not changes(before, kept)}


@pytest.fixture(scope="module")
def alone() -> list[Any]:
    pairs = run(Torch(*made(), OPTIONS, "fp32"), 0, STEPS)
    return [pytest.approx(list(pair), rel=1e-4) for pair in pairs]


def every(names: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {name: trained(zero) for name, zero in names.items()}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return in_processes(2, every, tmp_path_factory.mktemp("options"), OPTIONS_OF)


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
    assert "deepspeed: overlap_com: " in str(error), error
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
