"""The block: rows that are read equal the full computation; padding and the future are never seen."""

from __future__ import annotations

import pytest
import torch

from tests.unit.models.near import assert_same_gradients
from vltk.errors import RecipeError
from vltk.models.layers import Attention, Rows, Transformer, causal_mask, padding_mask
from vltk.models.tokens import Tokens

B, N, D = 5, 9, 16


def transformer(seed: int = 0, dropout: float = 0.0, norm: str = "pre") -> Transformer:
    torch.manual_seed(seed)
    made = Transformer(D, depth=2, heads=4, mlp=24, eps=1e-12, dropout=dropout, norm=norm)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return made


def read_mask() -> torch.Tensor:
    """(B, N): another number of rows in each sample, none in the last."""
    mask = torch.rand(B, N, generator=torch.Generator().manual_seed(3)) < 0.4
    mask[0], mask[-1] = True, False
    return mask


def test_rows_are_ascending_and_padded() -> None:
    mask = torch.tensor([[0, 1, 0, 1, 1], [0, 0, 0, 0, 1], [0, 0, 0, 0, 0]]).bool()
    rows = Rows.where(mask)
    assert rows.valid.tolist() == [[True] * 3, [True, False, False], [False] * 3]
    assert rows.index[0].tolist() == [1, 3, 4]
    assert rows.index[1, 0] == 4
    x = torch.randn(3, 5, 2)
    assert torch.equal(rows.take(x)[rows.valid], x[mask])


def test_rows_first() -> None:
    x = torch.randn(B, N, D)
    assert torch.equal(Rows.first(x).take(x)[:, 0], x[:, 0])


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("kind", ["none", "padding", "causal"])
def test_a_pruned_last_block_equals_the_full_one(kind: str, norm: str) -> None:
    model, read = transformer(norm=norm), read_mask()
    x = torch.randn(2 * B, N, D, requires_grad=True)
    lengths = torch.tensor([9, 4, 7, 2, 9] * 2)
    masks = {"none": None, "padding": padding_mask(lengths, N), "causal": causal_mask(N, x.device)}
    full = model(x, masks[kind], [None, None])
    pruned = model(x, masks[kind], [Rows.where(read), None])
    assert pruned[0].shape[1] == read.sum(1).max()

    wanted = Tokens(full[0], model.norm).at(read)
    found = Tokens(pruned[0], model.norm, Rows.where(read)).at(read)
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(pruned[1], full[1], atol=1e-6, rtol=1e-5)
    leaves = {"x": x, **dict(model.named_parameters())}
    gradients = [
        dict(zip(leaves, torch.autograd.grad(states.square().sum(), list(leaves.values())), strict=True))
        for states in (found, wanted)
    ]
    assert_same_gradients(*gradients)


def test_padding_is_never_seen() -> None:
    model = transformer()
    lengths = torch.tensor([9, 4, 7, 2, 9])
    real = torch.arange(N) < lengths[:, None]
    x = torch.randn(B, N, D)
    other = torch.where(real[..., None], x, torch.randn(B, N, D) * 50)
    mask = padding_mask(lengths, N)
    before, after = model(x, mask, [None])[0], model(other, mask, [None])[0]
    assert torch.equal(before[real], after[real])
    alone = model(x[1:2, :4], None, [None])[0]
    torch.testing.assert_close(before[1:2, :4], alone, atol=1e-6, rtol=1e-5)


def test_the_future_is_never_seen() -> None:
    model = transformer()
    x = torch.randn(B, N, D)
    changed = x.clone()
    changed[:, 5:] = torch.randn(B, N - 5, D)
    mask = causal_mask(N, x.device)
    before, after = model(x, mask, [None])[0], model(changed, mask, [None])[0]
    torch.testing.assert_close(before[:, :5], after[:, :5])
    assert not torch.isclose(before[:, 5:], after[:, 5:]).all(-1).any()


def test_dropout_of_zero_draws_nothing() -> None:
    x = torch.randn(B, N, D)
    model = transformer().train()
    state = torch.random.get_rng_state()
    assert torch.equal(model(x, None, [None])[0], model.eval()(x, None, [None])[0])
    assert torch.equal(state, torch.random.get_rng_state())
    noisy = transformer(dropout=0.5).train()
    assert not torch.equal(noisy(x, None, [None])[0], noisy(x, None, [None])[0])


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(RecipeError, match="heads: 3 given, into which the width 16 does not divide"):
        Attention(16, 3)


def test_tokens_refuse_rows_that_were_not_planned() -> None:
    x = torch.randn(B, N, D)
    tokens = Tokens(Rows.first(x).take(x), torch.nn.LayerNorm(D), Rows.first(x))
    with pytest.raises(AssertionError, match="only some rows"):
        _ = tokens.before_norm
