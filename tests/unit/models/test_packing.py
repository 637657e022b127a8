"""Packing: what it skips changes nothing. The plain form, where every token of the padded batch runs, is the oracle."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.unit.models.near import assert_same_gradients
from vltk.models import packing as module
from vltk.models.layers import Rows, Transformer, causal_mask, padding_mask
from vltk.models.packing import Packing

B, N, D = 5, 9, 16
LENGTHS = torch.tensor([9, 4, 7, 2, 9])
REAL = torch.arange(N) < LENGTHS[:, None]


@pytest.fixture(autouse=True, params=[1, 8, 64], ids="multiple-{}".format)
def taken(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """(B, N): the real tokens, alone, with one of padding up to a multiple of 8, with all padding."""
    monkeypatch.setattr(module, "MULTIPLE", request.param)
    extra = {1: torch.zeros_like(REAL), 8: torch.arange(B * N).view(B, N) == N + 4, 64: ~REAL}
    return REAL | extra[request.param]


def packing() -> Packing:
    made = Packing.of(LENGTHS, N)
    assert made is not None
    return made


def transformer(norm: str) -> Transformer:
    torch.manual_seed(0)
    made = Transformer(D, depth=2, heads=4, mlp=24, eps=1e-12, norm=norm)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return made


def test_tokens_stand_behind_one_another(taken: Tensor) -> None:
    x = torch.randn(B, N, D)
    assert torch.equal(packing().pack(x), x[taken])
    assert torch.equal(packing().pad(x[taken])[taken], x[taken])
    index = torch.tensor([[8, 0], [3, 1], [6, 2], [1, 0], [0, 8]])
    assert torch.equal(x[taken][packing().numbers(index)], x.gather(1, index[..., None].expand(-1, -1, D)))
    assert torch.equal(packing().slots[taken], torch.arange(int(taken.sum())))
    assert (packing().slots[~taken] == int(taken.sum())).all()
    twice = packing().repeated(2)
    assert torch.equal(twice.pack(torch.cat([x, 2 * x])), torch.cat([x[taken], 2 * x[taken]]))
    assert torch.equal(twice.slots[B:][taken], int(taken.sum()) + packing().slots[taken])


def test_nothing_is_packed_where_nothing_is_padded() -> None:
    assert Packing.of(torch.full((B,), N), N) is None


def test_gradients_go_where_the_tokens_came_from(taken: Tensor) -> None:
    x = torch.randn(B, N, 2, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(packing().pack, x)
    assert torch.autograd.gradcheck(lambda rows: packing().pad(rows)[taken], x[taken].detach().requires_grad_())


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("kind", ["padding", "causal"])
@pytest.mark.parametrize("reads", ["all", "some", "some and all", "first and all"])
def test_packed_passes_equal_padded_ones(reads: str, kind: str, norm: str) -> None:
    model = transformer(norm)
    some = REAL & (torch.rand(B, N, generator=torch.Generator().manual_seed(3)) < 0.5)
    rows = {"all": None, "some": Rows.where(some), "first": Rows.first(REAL)}
    read = [rows[name] for name in reads.split(" and ")]
    passes = len(read)
    lengths = LENGTHS.repeat(passes)
    mask = padding_mask(lengths, N) if kind == "padding" else causal_mask(N, REAL.device)
    given = torch.randn(passes * B, N, D)

    def run(found: Packing | None) -> tuple[list[Tensor], dict[str, Tensor]]:
        x = given.clone().requires_grad_()
        hidden = model(x, mask, read, found)
        real = [h[REAL if at is None else at.valid] for h, at in zip(hidden, read, strict=True)]
        loss = sum((part.sin().sum() for part in real), start=torch.zeros(()))
        leaves = {"x": x, **dict(model.blocks.named_parameters())}
        return real, dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))

    (plain, wanted), (packed, gradients) = run(None), run(packing())
    torch.testing.assert_close(packed, plain, atol=1e-6, rtol=1e-5)
    assert_same_gradients(gradients, wanted)
