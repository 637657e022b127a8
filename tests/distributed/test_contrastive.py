"""Global contrast over two processes equals one big batch: the same loss, the same gradients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from tests import tiny
from tests.processes import in_processes
from vltk import dist
from vltk.parts import choose
from vltk.train.accumulate import Batch, run_step

WORLD, SIZE = 2, 8
LENGTHS = (12, 7, 4, 9, 12, 5, 12, 8)
CASES: dict[str, tuple[tuple[str, ...], tuple[int, ...] | None, int]] = {  # losses, matches, micro-batches a rank
    "contrast": (("itc",), None, 1),
    "unequal shares of matches": (("itc", "itm", "mmm"), (1, 1, 1, 0, 0, 0, 1, 0), 1),
    "no match on one rank": (("itc", "itm", "mmm"), (1, 0, 1, 1, 0, 0, 0, 0), 1),
    "two micro-batches a rank": (("itc", "itm", "mmm"), (1, 1, 1, 0, 0, 0, 1, 0), 2),
}


def step(case: str, rank: int = 0, world: int = 1) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Losses and gradients of this rank's share of the batch."""
    names, matched, micro_batches = CASES[case]
    batch = tiny.batch(SIZE, LENGTHS, matched)
    count = world * (micro_batches if world > 1 else 1)
    cut = {name: tensor.chunk(count) for name, tensor in batch.items()}
    mine = range(rank * count // world, (rank + 1) * count // world)
    model = tiny.flava()
    pretraining = tiny.pretraining(model, *names)
    batches: list[Batch] = [{name: parts[i] for name, parts in cut.items()} for i in mine]
    record = run_step(tiny.Bare(pretraining), pretraining, "all", batches, step=0, seed=0)
    return record.losses, tiny.gradients(model)


def work() -> dict[str, Any]:
    """Of each case the losses and gradients, summed over ranks."""
    found = {}
    for case in CASES:
        losses, gradients = step(case, dist.rank(), WORLD)
        found[case] = [
            {name: dist.sum_over_ranks(tensor).tolist() for name, tensor in tensors.items()}
            for tensors in (losses, gradients)
        ]
    return found


@pytest.mark.parametrize(("gather", "flows"), [("global", True), ("local", False), ("none", False)])
def test_what_reaches_the_other_rank(gather: str, flows: bool, tmp_path: Path) -> None:
    """`local` has the loss of `global`, without the gradients that flow back to the ranks that own the columns; `none`
    compares the pairs of a rank with one another."""
    found = in_processes(WORLD, reach, tmp_path, gather)
    image, text = (
        torch.randn(2 * WORLD, 3, generator=torch.Generator().manual_seed(n), dtype=torch.float64) for n in (0, 1)
    )
    image.requires_grad_()
    logits = image @ text.T
    mine = torch.arange(2)  # the rows of rank 0
    columns = mine if gather == "none" else torch.arange(2 * WORLD)
    loss = (
        cross_entropy(logits[mine][:, columns], mine, reduction="sum")
        + cross_entropy(logits.T[mine][:, columns], mine, reduction="sum")
    ) / 2
    assert found["loss"] == pytest.approx(loss.item(), rel=1e-12)
    (gradient,) = torch.autograd.grad(loss, image)
    own = torch.tensor(found["gradient"], dtype=torch.float64)
    assert torch.allclose(own, gradient[mine], atol=1e-12) is not flows


def reach(gather: str) -> dict[str, Any]:
    """Of rank 0: its loss on two pairs of its own, and the gradient of its images."""
    image, text = (
        torch.randn(2 * WORLD, 3, generator=torch.Generator().manual_seed(n), dtype=torch.float64) for n in (0, 1)
    )
    first = 2 * dist.rank()
    own = image[first : first + 2].requires_grad_()
    objective = choose("objectives", "itc", gather=gather).build()
    loss = objective.compare(own, text[first : first + 2], torch.tensor(1.0, dtype=torch.float64), batch={}).sums["itc"]
    loss.backward()
    assert own.grad is not None
    return {"loss": loss.item(), "gradient": own.grad.tolist()}


def test_two_processes_equal_one_big_batch(tmp_path: Path) -> None:
    found = in_processes(WORLD, work, tmp_path)
    for case in CASES:
        losses, gradients = step(case)
        shared_losses, shared_gradients = found[case]
        assert set(shared_losses) == set(losses)
        for name, loss in losses.items():
            assert shared_losses[name] == pytest.approx(loss.item(), rel=1e-6), f"{case}: {name}"
        assert set(shared_gradients) == set(gradients)
        for name, gradient in gradients.items():
            difference = torch.tensor(shared_gradients[name]) - gradient
            assert difference.abs().max() < 1e-6, f"{case}: {name}"
