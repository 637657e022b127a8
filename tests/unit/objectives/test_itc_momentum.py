"""Contrast with a momentum teacher against a direct reading of BLIP's and ALBEF's formulas; queues; any split."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests import tiny
from tests.towers import Held, state_of
from vltk.errors import RecipeError
from vltk.models import inference
from vltk.recipe import Optimizer
from vltk.train.accumulate import run_step
from vltk.train.engines.torch import Torch
from vltk.train.optim import groups
from vltk.train.pretraining import Pretraining

SIZE, GROUP = 6, 3
OPTIONS = Optimizer(lr=3e-3, eps=1e-3)
FAMILIES = {"blip": (tiny.blip, tiny.BLIP), "albef": (tiny.albef, tiny.ALBEF)}


def by_hand(
    own: tuple[Tensor, Tensor], taught: tuple[Tensor, Tensor], queues: tuple[Tensor, Tensor], scale: float, alpha: float
) -> float:
    """salesforce/BLIP blip_pretrain.py of the batch of one GPU, summed instead of averaged, row by row."""
    total = 0.0
    (image, text), (image_m, text_m) = own, taught
    for rows, teacher_rows, keys, queue in ((image, image_m, text_m, queues[1]), (text, text_m, image_m, queues[0])):
        every = torch.cat([keys, queue])
        for i in range(len(rows)):
            hard = torch.zeros(len(every), dtype=rows.dtype)
            hard[i] = 1
            target = alpha * (scale * every @ teacher_rows[i]).softmax(0) + (1 - alpha) * hard
            total -= float((target * (scale * every @ rows[i]).log_softmax(0)).sum())
    return total / 2


def embedded(size: int, seed: int) -> tuple[Tensor, Tensor]:
    source = torch.Generator().manual_seed(seed)
    image, text = (F.normalize(torch.randn(size, 24, generator=source, dtype=torch.float64), dim=1) for _ in range(2))
    return image, text


def objective(**options: Any) -> Any:
    return tiny.grouped(tiny.blip(), "itc_momentum", itc_momentum=options).of("all")["itc_momentum"]


@pytest.mark.parametrize(("step", "alpha"), [(0, 0.0), (1, 0.1), (4, 0.4), (100, 0.4)])
def test_the_loss_is_that_of_each_group(step: int, alpha: float) -> None:
    part = objective(weight=2.0).double()
    own, taught = embedded(SIZE, 0), embedded(SIZE, 1)
    batch = {"image_id": torch.arange(SIZE)}
    found = part._compare(own, taught, torch.tensor(9.0, dtype=torch.float64), batch, step)
    wanted = 0.0
    for first in (0, GROUP):
        group = slice(first, first + GROUP)
        sides = [(image[group], text[group]) for image, text in (own, taught)]
        wanted += by_hand(*sides, (part.image_queue, part.text_queue), 9.0, alpha)
    assert found.sums["itc"].item() == pytest.approx(2 * wanted, rel=1e-6)
    assert found.metrics["itc_alpha"].item() == pytest.approx(alpha)


def test_keys_of_one_image_share_the_target() -> None:
    part = objective(same_image=True)
    part.queue_ids[:5] = torch.tensor([7, 8, 7, 9, 11])
    hard = part._hard({"image_id": torch.tensor([7, 7, 8, 9, 10, 9])})
    assert hard.shape == (2, GROUP, GROUP + 16)
    assert hard[0, 0].nonzero()[:, 0].tolist() == [0, 1, 3, 5] and hard[0, 0, 0] == 0.25
    assert hard[0, 2].nonzero()[:, 0].tolist() == [2, 4]
    assert hard[1, 1].nonzero()[:, 0].tolist() == [1]
    torch.testing.assert_close(hard.sum(-1), torch.ones(2, GROUP))
    one_hot = objective()._hard({"image_id": torch.tensor([7, 7, 8, 9, 10, 9])})
    assert one_hot.sum() == SIZE and (one_hot[:, :, :GROUP] == torch.eye(GROUP)).all()


@pytest.mark.parametrize("size", [4, 6, 16, 23])
def test_a_queue_holds_the_newest_keys(size: int) -> None:
    """Of any size of a step: BLIP and ALBEF assert that it divides the queue."""
    part = objective()
    every: list[Tensor] = []
    for step in range(5):
        keys = embedded(size, step)[0].float()
        every += list(keys)
        kept = {"itc_image": [keys[:3], keys[3:]], "itc_text": [-keys], "itc_ids": [torch.arange(size) + step * size]}
        part.after_step(kept, step)
    newest = torch.stack(every[-16:])
    order = part.queue_ids.argsort()
    assert part.queue_ids[order].tolist() == list(range(5 * size - 16, 5 * size))
    assert part.image_queue[order].equal(newest) and part.text_queue[order].equal(-newest)


def engine_of(pretraining: Pretraining) -> Any:
    return Torch(pretraining, groups(pretraining, {"all": pretraining.reached("all", tiny.batch(3))}), OPTIONS, "fp32")


def trained(pretraining: Pretraining, steps: range, pieces: int = 1, engine: Any = None) -> tuple[Any, list[Any]]:
    """The engine after some steps, each in so many micro-batches, and the losses."""
    engine, found = engine or engine_of(pretraining), []
    for step in steps:
        batch = tiny.batch(SIZE, seed=step)
        cut: list[Any] = [{name: tensor.chunk(pieces)[i] for name, tensor in batch.items()} for i in range(pieces)]
        record = run_step(engine, pretraining, "all", cut, step, seed=0)
        engine.step(OPTIONS.lr, "all", step)
        pretraining.after_step(engine, "all", step, record.kept)
        found.append({name: float(loss) for name, loss in record.losses.items()})
    return engine, found


@pytest.mark.parametrize("family", FAMILIES)
def test_any_split_into_whole_groups_gives_the_same_losses(family: str) -> None:
    make, names = FAMILIES[family]
    whole, split = tiny.grouped(make(), *names), tiny.grouped(make(), *names)
    _, losses = trained(whole, range(6))
    _, split_losses = trained(split, range(6), SIZE // GROUP)
    assert split_losses == [pytest.approx(step, rel=1e-4) for step in losses]
    for name, tensor in whole.state_dict().items():
        torch.testing.assert_close(split.state_dict()[name], tensor, rtol=1e-3, atol=1e-5, msg=name)


@pytest.mark.parametrize("family", FAMILIES)
def test_resumes_bit_for_bit(family: str) -> None:
    make, names = FAMILIES[family]
    unbroken, stopped, resumed = (tiny.grouped(make(), *names) for _ in range(3))
    _, losses = trained(unbroken, range(6))
    before, first = trained(stopped, range(3))
    after = engine_of(resumed)
    after.load(Held(state_of(before)))
    resumed.replicas["teacher"].load(Held({"teacher": stopped.replicas["teacher"].state()}), "teacher")
    _, last = trained(resumed, range(3, 6), engine=after)
    assert first + last == losses
    assert all(tensor.equal(resumed.state_dict()[name]) for name, tensor in unbroken.state_dict().items())


def test_the_teacher_follows_and_holds_no_queue() -> None:
    pretraining = tiny.grouped(tiny.blip(), *tiny.BLIP)
    name = "model.text.shared.words.weight"
    start = pretraining.state_dict()[name].clone()
    trained(pretraining, range(1))
    teacher = pretraining.replicas["teacher"].state()
    torch.testing.assert_close(teacher[name], 0.9 * start + 0.1 * pretraining.state_dict()[name])
    assert all(key.startswith("model.") for key in teacher) and pretraining.result == "weights"


def test_the_queue_takes_the_teacher_s_keys() -> None:
    pretraining = tiny.grouped(tiny.blip(), *tiny.BLIP)
    trained(pretraining, range(2))
    teacher = pretraining.replicas["teacher"].module.get_submodule("model")
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    trained(pretraining, range(2, 3))
    part: Any = pretraining.of("all")["itc_momentum"]
    teacher.load_state_dict(before)
    batch: Any = tiny.batch(SIZE, seed=2)
    wanted = inference.image_embeddings(teacher, batch["image"])
    at = (12 + torch.arange(SIZE)) % 16
    torch.testing.assert_close(part.image_queue[at], wanted)
    torch.testing.assert_close(
        part.text_queue[at], inference.text_embeddings(teacher, batch["text"], batch["text_length"])
    )
    assert part.queue_ids[at].equal(batch["image_id"])


def test_a_loss_at_chance_is_named() -> None:
    part = objective(weight=0.5)
    chance = math.log(GROUP + 16)
    assert "ln of the 19 pairs" in part.at_chance({"itc": 0.5 * chance}, {"itc_chance": chance})
    assert part.at_chance({"itc": 0.4 * chance}, {"itc_chance": chance}) is None


def test_a_model_without_embeddings() -> None:
    text = {"part": "med", **tiny.TOWER, "vocab": 52, "max_length": 24, "encoder": False}
    with pytest.raises(RecipeError, match="compares embeddings of images and texts, and the model has none"):
        tiny.grouped(tiny.blip(text=text), "itc_momentum")
