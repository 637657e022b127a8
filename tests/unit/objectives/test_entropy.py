"""Cross-entropy in chunks against torch's own over all logits at once."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vltk.objectives import _entropy
from vltk.objectives._entropy import cross_entropy


def plain(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    loss = F.cross_entropy(logits.float(), target, reduction="sum")
    return loss, (logits.argmax(1) == target).sum()


def both(dtype: torch.dtype, count: int = 37, classes: int = 53) -> tuple[list[Tensor], list[Tensor]]:
    """Loss, hits and gradient of `ours` and of `plain`; logits have ties."""
    source = torch.Generator().manual_seed(0)
    logits = (8 * torch.randn(count, classes, generator=source)).round().to(dtype)
    target = torch.randint(0, classes, (count,), generator=source)
    target[::3] = logits.argmax(1)[::3]
    found = []
    for way in (cross_entropy, plain):
        own = logits.clone().requires_grad_()
        loss, hits = way(own, target)
        (loss * 0.37 / count).backward()
        assert own.grad is not None
        found.append([loss.detach(), hits, own.grad])
    return found[0], found[1]


@pytest.mark.parametrize("chunk", [1, 53 * 5, 2**18])
def test_loss_and_gradient_are_those_of_torch(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setitem(_entropy.CHUNK, "cpu", chunk)
    ours, torchs = both(torch.float32)
    torch.testing.assert_close(ours[0], torchs[0], rtol=1e-6, atol=0)
    assert ours[1] == torchs[1] > 37 // 3
    torch.testing.assert_close(ours[2], torchs[2], rtol=1e-5, atol=1e-9)


def test_bf16_logits_are_compared_in_fp32() -> None:
    ours, torchs = both(torch.bfloat16)
    torch.testing.assert_close(ours[0], torchs[0], rtol=1e-6, atol=0)
    assert ours[0].dtype == torch.float32 and ours[2].dtype == torch.bfloat16
    torch.testing.assert_close(ours[2], torchs[2], rtol=2**-7, atol=1e-9)


def test_nothing_and_no_number() -> None:
    nothing = torch.zeros(0, 5, requires_grad=True)
    loss, hits = cross_entropy(nothing, torch.zeros(0, dtype=torch.long))
    loss.backward()
    assert loss == 0 and hits == 0 and nothing.grad is not None
    assert cross_entropy(torch.tensor([[0.0, torch.nan]]), torch.tensor([0]))[0].isnan()
    assert cross_entropy(torch.tensor([[0.0, torch.inf]]), torch.tensor([1]))[0].isnan()


def test_without_gradient_none_is_kept() -> None:
    logits = torch.randn(3, 4, requires_grad=True)
    with torch.no_grad():
        loss, _ = cross_entropy(logits, torch.tensor([0, 1, 2]))
    assert not loss.requires_grad


def test_going_back_twice_is_refused() -> None:
    """The gradient was scaled in place."""
    loss, _ = cross_entropy(torch.randn(3, 4, requires_grad=True), torch.tensor([0, 1, 2]))
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
