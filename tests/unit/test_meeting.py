"""Ranks meet in a store that still holds what those of an earlier start left there, as torchrun's does."""

from __future__ import annotations

import os
from datetime import timedelta
from threading import Thread
from typing import Any

import pytest
import torch.distributed as torch_dist

from vltk import meeting
from vltk.errors import VltkError


def met(store: torch_dist.Store, world: int) -> dict[int, str]:
    """Under which name each rank has met the others."""
    names = dict[int, str]()

    def come(rank: int) -> None:
        names[rank] = meeting._name_of_start(store, world) if rank == 0 else meeting._knock(store, rank)

    threads = [Thread(target=come, args=(rank,)) for rank in reversed(range(world))]  # rank 0 last
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return names


def test_each_start_has_a_name_of_its_own() -> None:
    store = torch_dist.HashStore()
    first, second = met(store, 3), met(store, 3)
    assert len(first) == len(second) == 3
    assert len(set(first.values())) == len(set(second.values())) == 1 and first[0] != second[0]


def test_who_does_not_come_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meeting, "PATIENCE", timedelta(seconds=1))
    store = torch_dist.HashStore()
    other = Thread(target=meeting._knock, args=(store, 2))
    other.start()
    with pytest.raises(VltkError, match="2 of 4 ranks did not come within 0 minutes: 1, 3"):
        meeting._name_of_start(store, 4)
    other.join()


def test_one_machine_needs_no_interface(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several, loopback is none either."""
    for variables in ({"LOCAL_WORLD_SIZE": "2"}, {"LOCAL_WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}):
        told: dict[str, Any] = {"WORLD_SIZE": "2", **variables}
        monkeypatch.setattr(os, "environ", told)
        meeting.choose_interface()
        assert "GLOO_SOCKET_IFNAME" not in told
