"""The benchmark of the step: both sides do the same work, it is counted rightly, and they take turns."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import steps, train_step
from benchmarks.flops import useful
from benchmarks.steps import DRAWN, PADDED, Ours, Theirs, as_ours, batches
from benchmarks.turns import Contestant, Spent, in_turns
from tests.unit.benchmarks.toy import SIZE
from vltk.data import batch as data_batch
from vltk.data.batch import EIGHTS
from vltk.errors import VltkError
from vltk.launch import before_torch
from vltk.objectives import _contract

STREAMS = {"image": {"mim"}, "text": {"mlm"}, "pairs": {"itc", "itm", "mmm_image", "mmm_text"}}


class Here:
    """What a contestant of another process answers, in this one."""

    def __init__(self, built: Any) -> None:
        self.built = built

    def __call__(self, method: str, *given: Any) -> Any:
        return getattr(self.built, method)(*given)


@pytest.mark.parametrize("stream", STREAMS)
def test_both_do_the_same_work(stream: str) -> None:
    ours, theirs = Ours(SIZE, stream, 4), Theirs(SIZE, stream, 4)
    found = train_step.compared(Here(ours), Here(theirs))  # type: ignore[arg-type]
    assert set(ours.losses(False)) == STREAMS[stream] and found["fp32"] < 1e-6
    assert 0 < ours.kept() < theirs.kept()
    assert Ours(SIZE, stream, 4, again=True).kept() < ours.kept()


@pytest.mark.parametrize("stream", STREAMS)
def test_both_learn_the_same(stream: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same weights go the same way as far, over more steps than there are batches; nearly, as bf16 rounds.

    Only what is added to keys has no gradient but rounding.
    """
    monkeypatch.setattr(steps, "LR", 1e-3)
    ours, theirs = Ours(SIZE, stream, 4), Theirs(SIZE, stream, 4)
    start = {name: weight.clone() for name, weight in ours.model.state_dict().items()}
    for _ in range(DRAWN + 2):
        ours.step()
        theirs.step()
    there = as_ours(theirs.model, ours.model)
    moved = {name: float((weight - start[name]).norm()) for name, weight in ours.model.state_dict().items()}
    apart = {name: float((weight - there[name]).norm()) for name, weight in ours.model.state_dict().items()}
    assert [name for name in moved if not name.endswith("qkv.bias") and apart[name] > 0.2 * moved[name]] == []
    assert sum(distance > 0.01 for distance in moved.values()) > 30


def test_other_losses_are_refused() -> None:
    with pytest.raises(VltkError, match="losses of another name"):
        train_step.compared(Here(Ours(SIZE, "image", 4)), Here(Theirs(SIZE, "text", 4)))  # type: ignore[arg-type]


@pytest.mark.parametrize(("stream", "least"), [("image", 0.75), ("text", 0.99), ("pairs", 0.87)])
def test_useful_flops_are_those_that_run(stream: str, least: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that is useful but the rows of the last blocks that nobody reads; attention alone runs over padding.

    Rows that fill up what the heads get are left out, and padding beyond the longest text: they are much of so few.
    """
    monkeypatch.setattr(_contract, "MULTIPLE", 1)
    monkeypatch.setattr(data_batch, "EIGHTS", 1)
    own, _ = batches(SIZE, stream, 4)
    ours = Ours(SIZE, stream, 4)
    with FlopCounterMode(display=False) as counted:
        ours.step()
    assert least * useful(SIZE, own, stream) < counted.get_total_flops() < 1.02 * useful(SIZE, own, stream)


def test_texts_are_padded_as_each_side_pads_them() -> None:
    own, given = batches(SIZE, "text", 16)
    assert own["text"].shape[1] - int(own["text_length"].max()) in range(EIGHTS)
    assert own["text"].shape[1] % EIGHTS == 0 and own["text"].shape[1] < PADDED == given["input_ids"].shape[1]
    assert given["attention_mask"].sum() == own["text_length"].sum()
    assert (given["mlm_labels"] >= 0).sum() == own["text_masked_at"].sum()
    assert 15 < own["text_length"].float().mean() < 25


def test_contestants_work_in_processes_of_their_own() -> None:
    with Contestant(1, os.getpid) as one:
        assert one("conjugate") not in (0, os.getpid())
        assert one.timed("conjugate").wall >= 0 and one.peak() > 0.01
        with pytest.raises(AttributeError, match="no attribute 'step'"):
            one("step")


def test_a_contestant_has_its_own_environment_and_its_own_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither what it is started with stays here, nor does the memory that this process once held count there."""
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    torch.ones(200_000_000)
    with Contestant(1, import_module, "os", prepare=before_torch) as one, Contestant(1, import_module, "os") as other:
        assert (one("getenv", "OMP_WAIT_POLICY"), other("getenv", "OMP_WAIT_POLICY")) == ("PASSIVE", None)
        assert (one("getenv", "GOMP_SPINCOUNT"), other("getenv", "GOMP_SPINCOUNT")) == ("2000", None)
        assert one.peak() < 0.6
    assert "OMP_WAIT_POLICY" not in os.environ


def test_ours_alone_is_set_up_as_training_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """And a whole measurement, small."""
    started = []

    class Seen(Contestant):
        def __init__(self, threads: int, build: Any, prepare: Any) -> None:
            started.append((build.func, prepare))
            super().__init__(threads, build, prepare=prepare)

    monkeypatch.setitem(train_step.SIZES, "tiny", SIZE)
    monkeypatch.setattr(train_step, "Contestant", Seen)
    found = train_step.measure("tiny", "text", 2, rounds=1, threads=1)
    assert started == [(Theirs, int), (Ours, before_torch)]
    assert 0 < found["mfu"] <= found["mfu_of_median"] and found["peer"]["ratio"] == found["ratio"] > 0
    flops = [useful(SIZE, batches(SIZE, "text", 2, number=number)[0], "text") for number in range(DRAWN)]
    assert len(set(flops)) > 1 and found["useful_gflop"] == pytest.approx(sum(flops) / DRAWN / 1e9)
    assert train_step.table(found).count("\n| ") == 3


def test_who_goes_first_changes() -> None:
    order: list[str] = []

    class Noted:
        def __init__(self, name: str) -> None:
            self.name = name

        def __call__(self, method: str) -> None:
            order.append(self.name)
            self.calls = 0

        def timed(self, method: str) -> Spent:
            self.calls += 1
            return Spent(self.calls, 2.0)

    contestants: Any = {name: Noted(name) for name in ("a", "b")}
    spent, between = in_turns(contestants, "step", rounds=3, warm=1, between=lambda: float(len(order)))
    assert order == ["a", "b", "b", "a", "a", "b", "b", "a"]
    assert spent == {"a": [Spent(1.5, 2.0)] * 3, "b": [Spent(1.5, 2.0)] * 3} and between == [4, 6, 8]


def test_a_profile_adds_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """By operator and by shapes: what is listed is of the whole, and products of several shapes are one operator."""
    monkeypatch.setitem(train_step.SIZES, "tiny", SIZE)
    monkeypatch.setattr(train_step, "LISTED", 10_000)
    first, second = train_step.profile("tiny", "text", 4, rounds=2, threads=1).split("\n\n")
    whole = float(first.split(" ")[0])
    kinds, shapes = (
        [line.strip("| ").split(" | ") for line in part.splitlines() if "aten" in line] for part in (first, second)
    )
    products = [float(row[2]) for row in shapes if row[0].startswith("aten::mm [")]
    assert len(products) > 3 and sum(products) == pytest.approx(
        next(float(row[2]) for row in kinds if row[0] == "aten::mm"), abs=0.01 * len(products)
    )
    assert 0.5 * whole < sum(float(row[2]) for row in kinds) <= whole + 1


def test_figures_are_medians_of_what_is_measured_in_a_round() -> None:
    theirs, ours = ([Spent(one, 3 * one) for one in some] for some in ([2.0, 9.0, 4.0], [1.0, 3.0, 4.0]))
    figures = train_step._figures(theirs, ours, [(10.0, 5.0), (10.0, 5.0), (20.0, 5.0)], 40.0, 8)
    assert (figures["ratio"], figures["spread"], figures["cpu_ratio"]) == (2.0, [1.0, 3.0], 2.0)
    assert figures["samples_per_s"] == 2.0 and figures["mfu"] == pytest.approx(0.5)
    assert figures["mfu_of_median"] == pytest.approx(2.0)
