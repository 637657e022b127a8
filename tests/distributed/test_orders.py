"""ZeRO-3 learns the order of modules once for each stream, and not in every step anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.processes import in_processes
from tests.towers import OPTIONS, STEPS, batch_of, made, one_step, zero_of

WARM = 9  # steps: every stream has been seen three times


def learning(micro_batches: int) -> dict[str, int]:
    """How often an order was dropped or learnt, in the first steps, later, and behind an evaluation."""
    from deepspeed.runtime.zero.partitioned_param_coordinator import PartitionedParameterCoordinator as Coordinator

    from vltk.train.engines.deepspeed import DeepSpeed

    counts, now = {"first": 0, "later": 0, "evaluated": 0}, "first"
    reset = Coordinator.reset_step
    dropped = Coordinator._invalidate_trace

    def count_reset(self: Coordinator) -> None:
        counts[now] += not self.is_complete_trace()
        reset(self)

    def count_drop(self: Coordinator) -> None:
        counts[now] += 1
        dropped(self)

    Coordinator.reset_step, Coordinator._invalidate_trace = count_reset, count_drop
    toy, found = made()
    zero = zero_of(3)
    engine = DeepSpeed(toy, found, OPTIONS, "fp32", {"zero_optimization": zero})
    for step in range(STEPS):
        now = "first" if step < WARM else "later"
        one_step(engine, step, batch_of(step), micro_batches)
    now = "evaluated"
    with engine.gathered():
        pass
    for step in range(STEPS):
        one_step(engine, step, batch_of(step), micro_batches)
    return counts


@pytest.mark.parametrize("micro_batches", [1, 2])
def test_alternating_streams_keep_their_orders(tmp_path: Path, micro_batches: int) -> None:
    counts = in_processes(2, learning, tmp_path, micro_batches)
    assert counts["later"] == 0
    assert counts["first"] > 0 and 0 < counts["evaluated"] <= 3 * 2  # each stream: begins to learn, has learnt
