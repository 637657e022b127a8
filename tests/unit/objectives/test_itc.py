"""The contrastive loss against plain loops over numpy arrays."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vltk.parts import choose


def by_hand(image: Any, text: Any, scale: float, matched: list[bool], smoothing: float = 0.0) -> float:
    """Sum over matched rows of (image to texts + text to images) / 2, one row at a time."""
    total = 0.0
    for rows, columns in ((image, text), (text, image)):
        for i in range(len(rows)):
            if matched[i]:
                logits = np.array([scale * float(rows[i] @ column) for column in columns])
                log_share = logits - math.log(np.exp(logits).sum())
                total -= (1 - smoothing) * log_share[i] + smoothing * log_share.mean()
    return total / 2


def embedded(size: int = 7) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    image, text = (F.normalize(torch.randn(size, 5, generator=generator, dtype=torch.float64)) for _ in range(2))
    return image, text, torch.tensor(9.0, dtype=torch.float64)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("matched", [[True] * 7, [True, False, True, True, False, False, True]])
def test_sum_over_matched_rows(matched: list[bool], smoothing: float) -> None:
    objective = choose("objectives", "itc", label_smoothing=smoothing, weight=0.5).build()
    image, text, scale = embedded()
    losses = objective.compare(image, text, scale, batch={"positive": torch.tensor(matched)})
    wanted = 0.5 * by_hand(image.numpy(), text.numpy(), 9.0, matched, smoothing)
    assert losses.sums["itc"].item() == pytest.approx(wanted, rel=1e-12)


def test_without_a_flag_every_pair_matches() -> None:
    objective = choose("objectives", "itc").build()
    image, text, scale = embedded()
    found = objective.compare(image, text, scale, batch={}).sums["itc"].item()
    assert found == pytest.approx(by_hand(image.numpy(), text.numpy(), 9.0, [True] * 7), rel=1e-12)
    assert objective.counts({"text": torch.zeros(7, 3)})["itc"] == 7
    assert objective.counts({"text": torch.zeros(3, 3), "positive": torch.tensor([True, False, True])})["itc"] == 2


@pytest.mark.parametrize("gather", ["local", "none"])
def test_on_one_device_every_gather_is_the_same(gather: str) -> None:
    image, text, scale = embedded()
    image.requires_grad_()
    found = []
    for objective in (choose("objectives", "itc").build(), choose("objectives", "itc", gather=gather).build()):
        loss = objective.compare(image, text, scale, batch={}).sums["itc"]
        found.append((loss.item(), *torch.autograd.grad(loss, image)[0].flatten().tolist()))
    assert found[0] == pytest.approx(found[1], rel=1e-12)


def test_accuracy_and_collapse() -> None:
    """Equal embeddings give exactly ln(batch) a row; perfect ones an accuracy of 1."""
    objective = choose("objectives", "itc").build()
    same = F.normalize(torch.ones(8, 4), dim=1)
    losses = objective.compare(same, same, torch.tensor(50.0), batch={})
    assert losses.sums["itc"].item() / 8 == pytest.approx(math.log(8), rel=1e-6)
    eye = torch.eye(8)
    assert objective.compare(eye, eye, torch.tensor(50.0), batch={}).metrics["itc_accuracy"] == 1


def test_a_micro_batch_may_have_no_matched_pair() -> None:
    objective = choose("objectives", "itc").build()
    image, text, scale = embedded()
    image.requires_grad_()
    losses = objective.compare(image, text, scale, batch={"positive": torch.zeros(7, dtype=torch.bool)})
    losses.sums["itc"].backward()
    assert losses.sums["itc"] == 0
    assert image.grad is not None and not image.grad.any()


def test_logits_are_fp32_under_autocast() -> None:
    objective = choose("objectives", "itc").build()
    image, text, scale = (tensor.float() for tensor in embedded())
    with torch.autocast("cpu", torch.bfloat16):
        found = objective.compare(image, text, scale, batch={}).sums["itc"]
    assert torch.equal(found, objective.compare(image, text, scale, batch={}).sums["itc"])
