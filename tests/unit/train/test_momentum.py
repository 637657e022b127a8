"""Replicas that follow the trained weights: their formula, what they copy, and what of them a checkpoint holds."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from tests.harness import DEBUG, call, facts, losses, rows, saved, weights
from tests.towers import Held
from vltk.errors import VltkError
from vltk.run import RunFolder, read_weights
from vltk.train.momentum import Replica, averaging
from vltk.train.signals import Signals


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.register_buffer("seen", torch.tensor(0))
        self.register_buffer("mean", torch.zeros(2))
        self.register_buffer("grid", torch.arange(2), persistent=False)


def tensors(module: nn.Module) -> dict[str, Tensor]:
    return {f"model.{name}": tensor for name, tensor in module.state_dict().items()}


def test_parameters_are_averaged_and_buffers_copied() -> None:
    trained = Counting()
    replica = Replica({"model": trained}, momentum=lambda step: 0.9 + step / 100)
    assert replica.names == {"model.layer.weight", "model.layer.bias", "model.seen", "model.mean"}
    before = {name: tensor.clone() for name, tensor in tensors(trained).items()}
    with torch.no_grad():
        trained.layer.weight.add_(1)
        trained.seen.add_(3)
        trained.mean.add_(2)
    replica.follow(tensors(trained) | {"objectives.other": torch.zeros(1)}, step=5)
    after = replica.state()
    expected = 0.95 * before["model.layer.weight"] + 0.05 * trained.layer.weight
    torch.testing.assert_close(after["model.layer.weight"], expected, rtol=1e-6, atol=1e-7)
    assert after["model.layer.bias"].equal(before["model.layer.bias"])
    assert after["model.seen"] == 3 and after["model.mean"].tolist() == [2, 2]
    replica.follow(tensors(trained))
    assert replica.state()["model.layer.weight"].equal(trained.layer.weight)


def test_it_takes_no_gradient_and_shares_no_memory() -> None:
    trained = Counting()
    replica = Replica({"model": trained}, averaging(0.9))
    assert not replica.module.training and not any(p.requires_grad for p in replica.module.parameters())
    replica.state()["model.layer.weight"].zero_()
    replica.follow({"model.layer.weight": torch.zeros(2, 3)})
    assert trained.layer.weight.abs().sum() > 0


def test_a_state_that_does_not_fit_is_refused() -> None:
    replica = Replica({"model": Counting()}, averaging(0.9))
    state = replica.state() | {"model.layer.bias": torch.zeros(5)}
    with pytest.raises(VltkError, match=r"average: model\.layer\.bias is \(5,\), the model has \(2,\)"):
        replica.load(Held({"average": state}), "average")
    with pytest.raises(VltkError, match=r"average: missing model\.seen"):
        replica.load(Held({}), "average")


def test_an_average_begins_quickly() -> None:
    momentum = averaging(0.99)
    assert [round(momentum(step), 4) for step in (0, 1, 8, 90)] == [0.1, 0.1818, 0.5, 0.91]
    assert momentum(10_000) == 0.99


OPTIONS = [DEBUG, "steps=4", "average=0.8", "evaluate.every=2", "evaluate.best=dev text_to_image R@1"]


def test_a_run_ends_with_its_averaged_weights(home: Path) -> None:
    """Each checkpoint's average is that of the one before and of the weights that were trained since."""
    options = ["train", "clip-tiny", DEBUG, "steps=4", "average=0.3", "checkpoint.keep=9"]
    assert call(*options, "name=averaged") == 0
    folder = Path("runs/averaged/train")
    steps = [saved(folder / "checkpoints" / f"step-{step:08d}") for step in (1, 2, 3, 4)]
    for step, (before, after) in enumerate(zip(steps, steps[1:], strict=False), start=1):
        momentum = min(0.3, (1 + step) / (10 + step))
        for name, old in before["average"].items():
            expected = momentum * old + (1 - momentum) * after["weights"][name]
            torch.testing.assert_close(after["average"][name], expected, rtol=1e-5, atol=1e-7)
    final = load_file(folder / "model.safetensors")
    assert set(final) == {name.removeprefix("model.") for name in steps[-1]["average"]}
    for name, tensor in final.items():
        assert tensor.equal(steps[-1]["average"][f"model.{name}"])
    assert any(not tensor.equal(steps[-1]["weights"][f"model.{name}"]) for name, tensor in final.items())
    earlier, _ = read_weights(RunFolder(folder, 2))
    assert all(tensor.equal(steps[1]["average"][f"model.{name}"]) for name, tensor in earlier.items())


def test_averages_resume_bit_for_bit(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert call("train", "clip-tiny", *OPTIONS, "name=whole") == 0
    assert call("train", "clip-tiny", *OPTIONS, "average=null", "name=plain") == 0
    monkeypatch.setattr(Signals, "asked", lambda self: signal.SIGINT)
    while call("train", "clip-tiny", *OPTIONS, "name=broken") == 130:
        assert len(losses("broken/train")) < 5
    assert losses("broken/train") == losses("whole/train") == losses("plain/train")
    assert weights("broken/train") == weights("whole/train") != weights("plain/train")
    assert facts("broken/train")["weights_step"] == facts("whole/train")["weights_step"]
    assert values("broken") == values("whole")


def values(run: str) -> list[Any]:
    return [(row["step"], row["metric"], row["value"]) for row in rows(f"{run}/train", "results.jsonl")]


def test_a_run_begun_without_averages_is_refused(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("train", "clip-tiny", DEBUG, "name=plain") == 0
    assert call("train", "clip-tiny", DEBUG, "name=plain", "average=0.9") == 2
    assert "average: was None, is 0.9" in capsys.readouterr().err
