"""Groups by stream and decay, the schedule, and the optimizer that leaves idle groups alone."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from tests.towers import Toy, made
from vltk.recipe import Optimizer
from vltk.train.optim import TowerAdamW, clip_, decays, groups, learning_rate, weight_decay


def test_groups_follow_the_streams() -> None:
    toy, found = made()
    by_name = {name: group for group in found for name in group.parameters}
    every = frozenset({"image", "text", "pairs"})
    assert by_name["model.image.0.weight"].streams == {"image", "pairs"}
    assert by_name["model.words.weight"].streams == {"text", "pairs"}
    assert by_name["model.head.1.weight"].streams == every
    assert by_name["model.fused.weight"].streams == by_name["model.logit_scale"].streams == {"pairs"}
    assert by_name["model.image.0.weight"].decay and by_name["model.words.weight"].decay
    assert not any(by_name[name].decay for name in ("model.image.0.bias", "model.head.0.weight", "model.logit_scale"))
    assert len({group.name for group in found}) == len(found) == 8
    assert sum(len(group.parameters) for group in found) == len(by_name) == len(list(toy.parameters())) - 2


def test_unreached_parameters_are_frozen() -> None:
    toy, _ = made()
    assert [name for name, p in toy.named_parameters() if not p.requires_grad] == [
        "model.unused.weight",
        "model.unused.bias",
    ]


def test_a_parameter_frozen_beforehand_stays_out() -> None:
    toy = Toy()
    toy.model.cls.requires_grad_(False)
    found = groups(toy, {"image": {name for name, _ in toy.named_parameters()}})
    assert "model.cls" not in {name for group in found for name in group.parameters}


def test_unknown_names_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"model\.head\.9"):
        groups(Toy(), {"image": {"model.head.9"}})


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("image.blocks.0.mlp.0.weight", (4, 4), True),
        ("text.words.weight", (9, 4), True),
        ("text.types.weight", (2, 4), True),
        ("image.patches.weight", (4, 3, 2, 2), True),
        ("image.blocks.0.norm.weight", (4,), False),
        ("image.cls", (1, 1, 4), False),
        ("image.cls_token", (1, 1, 4), False),
        ("image.mask_token", (1, 4), False),
        ("image.positions", (5, 4), False),
        ("text.positions.weight", (7, 4), False),
        ("text.position_embeddings", (7, 4), False),
        ("logit_scale", (), False),
        ("heads.masked_patches.weight", (4, 4), True),
    ],
)
def test_decay_as_open_clip_and_timm_choose(name: str, shape: tuple[int, ...], expected: bool) -> None:
    assert decays(name, torch.zeros(shape)) is expected


def test_warm_up_then_cosine() -> None:
    options = Optimizer(lr=1.0, warmup=4, schedule="cosine", final_lr=0.1)
    rates = [learning_rate(options, step, 14) for step in range(14)]
    assert rates[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert rates[9] == pytest.approx(0.55)  # half way down
    assert rates[13] == pytest.approx(0.1 + 0.9 * (1 + math.cos(math.pi * 0.9)) / 2)
    assert all(earlier >= later for earlier, later in zip(rates[4:], rates[5:], strict=False))


def test_other_schedules() -> None:
    linear = Optimizer(lr=1.0, schedule="linear", final_lr=0.5)
    assert [learning_rate(linear, step, 4) for step in (0, 1, 2, 3)] == [1.0, 0.875, 0.75, 0.625]
    constant = Optimizer(lr=1.0, warmup=2, schedule="constant")
    assert [learning_rate(constant, step, 9) for step in (0, 1, 2, 8)] == [0.5, 1.0, 1.0, 1.0]
    assert learning_rate(Optimizer(lr=1.0, warmup=5), 4, 5) == 1.0  # nothing but warm-up
    short = Optimizer(
        lr=1.0, final_lr=0.1, lr_steps=4, schedule="linear"
    )  # DALL-E's falls over fewer steps than it trains
    assert [learning_rate(short, step, 9) for step in (0, 2, 4, 8)] == [1.0, 0.55, 0.1, 0.1]


def test_a_schedule_that_falls_by_a_factor() -> None:
    """BLIP's 0.9 an epoch, step by step."""
    options = Optimizer(lr=1.0, warmup=2, schedule="exponential", final_lr=0.9**4)
    assert [learning_rate(options, step, 6) for step in (0, 2, 3, 5)] == pytest.approx([0.5, 1.0, 0.9, 0.729])
    with pytest.raises(ValidationError, match="falls by a factor to final_lr, which is 0 here"):
        Optimizer(schedule="exponential")


def test_weight_decay_ends_elsewhere() -> None:
    """DINO's: from 0.04 to 0.4 as half a cosine."""
    options = Optimizer(weight_decay=0.04, final_weight_decay=0.4)
    assert [weight_decay(options, step, 100) for step in (0, 50, 100)] == pytest.approx([0.04, 0.22, 0.4])
    assert weight_decay(Optimizer(weight_decay=0.3), 50, 100) == 0.3
    _, found = made()
    optimizer = TowerAdamW(found, options)
    optimizer.activate("image", 0.5, step=50, weight_decay=0.22)
    assert {(group["decay"], group["weight_decay"]) for group in optimizer.param_groups} == {(True, 0.22), (False, 0.0)}


def test_parameters_that_start_late_are_a_group_of_their_own() -> None:
    toy = Toy()
    names = {name for name, _ in toy.named_parameters()}
    found = groups(toy, {"image": names}, {"model.fused.weight": 3})
    late = next(group for group in found if group.start)
    assert set(late.parameters) == {"model.fused.weight"} and late.name == "image (decay, from step 3)"
    assert [late.takes_part("image", step) for step in (2, 3)] == [False, True] and not late.takes_part("text", 3)
    optimizer = TowerAdamW(found, Optimizer())
    optimizer.activate("image", 0.5, step=2)
    assert [group["name"] for group in optimizer.param_groups if group["idle"]] == [late.name]
    optimizer.activate("image", 0.5, step=3)
    assert not any(group["idle"] for group in optimizer.param_groups)


def test_idle_groups_are_put_back() -> None:
    _, found = made()
    optimizer = TowerAdamW(found, Optimizer())
    before = list(optimizer.param_groups)
    optimizer.activate("image", 0.5)
    assert {group["name"] for group in before if not group["idle"]} == {g.name for g in found if "image" in g.streams}
    optimizer.step()
    assert optimizer.param_groups == before
    assert all(group["lr"] == 0.5 for group in before)


def test_active_groups_step_as_adamw_does() -> None:
    torch.manual_seed(0)
    ours, theirs = nn.Linear(3, 2), nn.Linear(3, 2)
    theirs.load_state_dict(ours.state_dict())
    found = groups(ours, {"a": {"weight", "bias"}})
    options = Optimizer(lr=0.1, weight_decay=0.3)
    mine = TowerAdamW(found, options)
    plain = torch.optim.AdamW(
        [{"params": [theirs.weight], "weight_decay": 0.3}, {"params": [theirs.bias], "weight_decay": 0.0}],
        lr=0.1, betas=options.betas, eps=options.eps, fused=True,
    )  # fmt: skip
    for seed in range(3):
        inputs = torch.randn(4, 3, generator=torch.Generator().manual_seed(seed))
        for module, optimizer in ((ours, mine), (theirs, plain)):
            module(inputs).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()
    assert torch.equal(ours.weight, theirs.weight) and torch.equal(ours.bias, theirs.bias)


def test_made_state_is_what_adamw_makes() -> None:
    weight = nn.Parameter(torch.ones(3, 2))
    found = groups(nn.ParameterDict({"w": weight}), {"a": {"w"}})
    made_by_us, made_by_torch = TowerAdamW(found, Optimizer()), TowerAdamW(found, Optimizer())
    weight.grad = torch.zeros_like(weight)
    made_by_us.prepared(weight)
    before = {key: value.dtype for key, value in made_by_us.state[weight].items()}
    made_by_torch.step()
    assert {key: value.dtype for key, value in made_by_torch.state[weight].items()} == before
    made_by_us.step()
    assert all(torch.equal(made_by_us.state[weight][k], v) for k, v in made_by_torch.state[weight].items())


@pytest.mark.parametrize("limit", [None, 0.5, 100.0])
def test_clipping(limit: float | None) -> None:
    parameters = [nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(()))]
    parameters[0].grad, parameters[1].grad = torch.tensor([3.0, 0.0, 0.0]), torch.tensor(4.0)
    assert clip_(parameters, limit) == pytest.approx(5.0)
    after = math.hypot(float(parameters[0].grad[0]), float(parameters[1].grad))
    assert after == pytest.approx(0.5 if limit == 0.5 else 5.0, rel=1e-5)


def test_a_norm_that_is_not_finite_is_returned() -> None:
    parameter = nn.Parameter(torch.zeros(2))
    parameter.grad = torch.tensor([1.0, math.nan])
    assert math.isnan(clip_([parameter], 1.0))
    assert parameter.grad[0] == 1.0
