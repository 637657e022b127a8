"""DINO: any split of a batch gives one step; its schedules; its last layer at first; its collapse; its mistakes."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from tests import tiny
from tests.towers import Held, state_of
from vltk.errors import RecipeError
from vltk.models.layers import DropPath
from vltk.parts import choose
from vltk.recipe import Optimizer
from vltk.train.accumulate import run_step
from vltk.train.engines.torch import Torch
from vltk.train.optim import groups
from vltk.train.pretraining import Pretraining

SIZE = 6
OPTIONS = Optimizer(lr=1e-2, weight_decay=0.3, eps=1e-3)  # else Adam makes steps of the rounding of a gradient of 0


def model(**options: Any) -> Any:
    return tiny.flava(text=None, fusion=None, **options)


def engine_of(pretraining: Pretraining) -> Any:
    reached = pretraining.reached("all", tiny.crops(2))
    return Torch(pretraining, groups(pretraining, {"all": reached}, pretraining.starts), OPTIONS, "fp32")


def trained(pretraining: Pretraining, steps: range, pieces: int = 1, engine: Any = None) -> tuple[Any, list[float]]:
    """The engine after some steps, each in so many micro-batches, and the losses."""
    engine, losses = engine or engine_of(pretraining), []
    for step in steps:
        batch = tiny.crops(SIZE, seed=step)
        cut = [{name: tensor.chunk(pieces)[i] for name, tensor in batch.items()} for i in range(pieces)]
        record = run_step(engine, pretraining, "all", cut, step, seed=0)
        engine.step(OPTIONS.lr, "all", step)
        record.note(pretraining.after_step(engine, "all", step, record.kept))
        losses.append(float(record.losses["dino"]))
    return engine, losses


@pytest.mark.parametrize("pieces", [2, 3, 6])
def test_any_split_gives_the_same_losses_centre_and_teacher(pieces: int) -> None:
    whole, split = tiny.dino(model()), tiny.dino(model())
    _, losses = trained(whole, range(5))
    _, split_losses = trained(split, range(5), pieces)
    assert split_losses == pytest.approx(losses, rel=1e-4)
    centres = [pretraining.of("all")["dino"].centre for pretraining in (whole, split)]  # type: ignore[attr-defined]
    assert centres[0].abs().max() > 0.01
    torch.testing.assert_close(centres[1], centres[0], rtol=1e-4, atol=1e-6)
    teachers = [pretraining.replicas["teacher"].state() for pretraining in (whole, split)]
    for name, tensor in teachers[0].items():
        torch.testing.assert_close(teachers[1][name], tensor, rtol=1e-3, atol=1e-5, msg=name)


def test_resumes_bit_for_bit() -> None:
    """From the engine's state and the teacher's: the centre is one of the engine's tensors."""
    unbroken, stopped, resumed = (tiny.dino(model()) for _ in range(3))
    engine, losses = trained(unbroken, range(8))
    before, first = trained(stopped, range(4))
    after = engine_of(resumed)
    state = state_of(before)
    assert "objectives.all.dino.centre" in state["weights"]
    after.load(Held(state))
    resumed.replicas["teacher"].load(Held({"teacher": stopped.replicas["teacher"].state()}), "teacher")
    _, last = trained(resumed, range(4, 8), engine=after)
    assert first + last == losses
    teachers = [pretraining.replicas["teacher"].state() for pretraining in (unbroken, resumed)]
    assert all(tensor.equal(teachers[1][name]) for name, tensor in teachers[0].items())


def test_the_last_layer_stays_as_it_is_at_first() -> None:
    """Neither gradient nor decay nor moments; afterwards it is trained as all others are."""
    pretraining = tiny.dino(model(), freeze_last=3)
    last = pretraining.of("all")["dino"].head.last.weight  # type: ignore[attr-defined]
    name, before = "objectives.all.dino.head.last.weight", last.detach().clone()
    engine, _ = trained(pretraining, range(3))
    assert last.equal(before)
    state = state_of(engine)
    assert name not in state["steps"] and name not in state["exp_avg"]
    assert state["steps"]["objectives.all.dino.head.mlp.0.weight"] == 3
    trained(pretraining, range(3, 5), engine=engine)
    assert not last.equal(before) and state_of(engine)["steps"][name] == 2


def test_the_teacher_gets_no_gradient_and_runs_no_local_crops() -> None:
    pretraining = tiny.dino(model())
    seen: list[int] = []
    teacher = pretraining.replicas["teacher"].module
    teacher.get_submodule("model.image.transformer.blocks.0").register_forward_pre_hook(
        lambda module, inputs: seen.append(tuple(inputs[0].shape)[:2])  # type: ignore[arg-type, func-returns-value]
    )
    losses, _ = pretraining("all", tiny.crops(SIZE), 0)
    losses.sums["dino"].backward()
    assert seen == [(2 * SIZE, 1 + 16)]
    assert all(parameter.grad is None for parameter in teacher.parameters())
    names = {name for name, _ in pretraining.named_parameters()}
    assert not any(parameter is other for parameter in teacher.parameters() for other in pretraining.parameters())
    assert not any("teacher" in name for name in names)


def test_the_teacher_draws_no_noise() -> None:
    """In evaluation mode: neither dropout nor dropped paths."""
    image = {"part": "vit", **tiny.TOWER, "image_size": tiny.IMAGE, "drop_path": 0.5, "dropout": 0.3}
    noisy = tiny.flava(image=image, text=None, fusion=None).train()
    pretraining = tiny.dino(noisy).train()
    said = [pretraining._lessons("all", tiny.crops(2))["dino"][0] for _ in range(2)]
    assert said[0].equal(said[1])
    torch.manual_seed(0)
    first = pretraining("all", tiny.crops(2), 0)[0].sums["dino"]
    assert first != pretraining("all", tiny.crops(2), 0)[0].sums["dino"]
    torch.manual_seed(0)
    assert first == pretraining("all", tiny.crops(2), 0)[0].sums["dino"]


def test_temperatures_and_momentum_follow_their_schedules() -> None:
    options = {"first_teacher_temperature": 0.04, "teacher_temperature": 0.07, "temperature_warmup": 30}
    part: Any = tiny.dino(model(), steps=100, momentum=0.996, **options).of("all")["dino"]
    assert [part.teacher_temperature(step) for step in (0, 10, 30, 99)] == pytest.approx([0.04, 0.05, 0.07, 0.07])
    assert tiny.dino(model()).of("all")["dino"].teacher_temperature(0) == 0.04  # type: ignore[attr-defined]
    assert [part.momentum(step) for step in (0, 50, 100)] == pytest.approx([0.996, 0.998, 1.0])


def test_figures_of_the_teacher() -> None:
    pretraining = tiny.dino(model())
    losses, _ = pretraining("all", tiny.crops(SIZE), 0)
    metrics = {name: float(value) for name, value in losses.metrics.items()}
    assert 0 < metrics["teacher_entropy"] < math.log(24) and metrics["teacher_temperature"] == pytest.approx(0.04)
    loss = float(losses.sums["dino"].detach()) / SIZE
    assert metrics["teacher_student_kl"] == pytest.approx(loss - metrics["teacher_entropy"], rel=1e-5)
    kept: dict[str, list[Tensor]] = {name: [value] for name, value in losses.kept.items()}
    entropy = float(pretraining.of("all")["dino"].after_step(kept, 0)["mean_target_entropy"])  # type: ignore[attr-defined]
    assert metrics["teacher_entropy"] <= entropy <= math.log(24)


def test_collapse_is_named() -> None:
    part: Any = tiny.dino(model()).of("all")["dino"]
    most = math.log(24)
    assert part.complaint({"teacher_entropy": 0.5 * most, "mean_target_entropy": 0.9 * most}) is None
    assert (
        part.complaint({"teacher_entropy": 0.001, "mean_target_entropy": 0.9 * most}) is None
    )  # sure, of many outputs
    assert "uniform" in part.complaint({"teacher_entropy": 0.999 * most, "mean_target_entropy": 0.9999 * most})
    assert "one and the same of its 24" in part.complaint({"teacher_entropy": 0.001, "mean_target_entropy": 0.002})


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"local_size": 40}, "local_size: 40 given, which is no multiple of the encoder's patch 16"),
        ({"global_size": 100}, "global_size: 100 given, which is no multiple of the encoder's patch 16"),
    ],
)
def test_sizes_that_the_encoder_cannot_cut(options: dict[str, int], wanted: str) -> None:
    with pytest.raises(RecipeError, match=wanted):
        tiny.dino(model(), **options)


def test_one_teacher_and_one_end() -> None:
    with pytest.raises(RecipeError, match=r"average: the run ends with the teacher of streams\.all\.objectives\.dino"):
        tiny.dino(model(), average=0.9)
    both = tiny.dino(model(), average=0.9, result="student")
    assert both.result == "average" and set(both.replicas) == {"average", "teacher"}
    whole = model()
    parts = {
        stream: {
            "dino": choose("objectives", "dino", **(tiny.DINO | {"momentum": momentum})).build(model=whole, steps=9)
        }
        for stream, momentum in (("one", 0.9), ("two", 0.8))
    }
    with pytest.raises(
        RecipeError, match=r"streams\.two\.objectives\.dino: shares one teacher with streams\.one\.objectives\.dino: "
    ):
        Pretraining(whole, parts)


def test_it_runs_without_local_crops() -> None:
    pretraining = tiny.dino(model(), local_crops=0)
    batch = {"crops": tiny.crops(SIZE)["crops"]}
    assert pretraining("all", batch, 0)[0].sums["dino"] > 0


def test_drop_path_leaves_out_whole_samples() -> None:
    torch.manual_seed(0)
    dropped = DropPath(0.25).train()(torch.ones(4000, 3, 2))
    kept = dropped.amax((1, 2)) > 0
    assert abs(float(kept.float().mean()) - 0.75) < 0.03
    assert dropped[kept].eq(1 / 0.75).all() and dropped[~kept].eq(0).all()
    assert DropPath(0.25).eval()(torch.ones(5, 3, 2)).eq(1).all()
