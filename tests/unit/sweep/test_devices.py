"""How GPUs and threads are dealt out."""

from __future__ import annotations

import os

import pytest

from vltk.sweep.devices import slots


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Eight cores, and nothing said about threads or GPUs."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    for name in ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.mark.parametrize(
    ("gpus", "visible", "jobs", "devices", "threads"),
    [
        (0, None, None, [None], 8),
        (0, None, 3, [None] * 3, 2),
        (4, None, None, ["0", "1", "2", "3"], 2),
        (4, None, 1, ["0,1,2,3"], 2),
        (4, None, 2, ["0,2", "1,3"], 2),
        (2, None, 3, ["0", "1", "0"], 2),
        (2, "3,GPU-5", None, ["3", "GPU-5"], 4),
    ],
)
def test_every_run_has_its_own(
    machine: pytest.MonkeyPatch, gpus: int, visible: str | None, jobs: int | None, devices: list[str], threads: int
) -> None:
    machine.setattr("torch.cuda.device_count", lambda: gpus)
    if visible:
        machine.setenv("CUDA_VISIBLE_DEVICES", visible)
    found = slots(jobs)
    assert [slot.get("CUDA_VISIBLE_DEVICES") for slot in found] == devices
    assert {slot["OMP_NUM_THREADS"] for slot in found} == {str(threads)}


def test_threads_that_the_user_has_set_stay(machine: pytest.MonkeyPatch) -> None:
    machine.setenv("OMP_NUM_THREADS", "5")
    assert slots(2) == [{}, {}]
