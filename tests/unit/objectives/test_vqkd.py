"""VQ-KD: its losses and the moves of its table written out, and that a step may be cut in any way."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from tests import tiny
from tests.towers import Held, state_of
from vltk.errors import RecipeError
from vltk.models.encoded import Encoded
from vltk.models.passes import Plan
from vltk.objectives._contract import Losses
from vltk.parts import choose
from vltk.recipe import Optimizer
from vltk.train.accumulate import run_step
from vltk.train.engines.torch import Torch
from vltk.train.optim import groups
from vltk.train.pretraining import Pretraining

OPTIONS = Optimizer(lr=2e-3, weight_decay=0.1)


def images(step: int, count: int = 8) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(step)
    return {"image": torch.randn(count, 3, tiny.IMAGE, tiny.IMAGE, generator=generator)}


def objective(pretraining: Pretraining) -> Any:
    return pretraining.of("all")["vqkd"]


def engine(pretraining: Pretraining) -> Torch:
    return Torch(pretraining, groups(pretraining, {"all": pretraining.reached("all", images(0))}), OPTIONS, "fp32")


def train(trained: Torch, first: int, last: int, parts: int = 1) -> list[dict[str, float]]:
    """Steps `first` to `last`, each in so many micro-batches; the losses."""
    found = []
    for step in range(first, last):
        cut = [{"image": part} for part in images(step)["image"].chunk(parts)]
        record = run_step(trained, trained.module, "all", cut, step, seed=0)  # type: ignore[arg-type]
        trained.step(2e-3, "all")
        trained.module.after_step(trained, "all", step, record.kept)
        found.append({name: value.item() for name, value in record.losses.items()})
    return found


def listed(losses: Losses) -> dict[str, list[torch.Tensor]]:
    """What a step of one micro-batch has kept."""
    return {name: [tensor] for name, tensor in losses.kept.items()}


def test_losses_are_those_of_the_formula() -> None:
    pretraining = tiny.distilling(commitment=0.5)
    model, part = pretraining.model, objective(pretraining)
    batch = images(0)
    found = part(Encoded(model, batch, Plan.of([])), 0)
    with torch.no_grad():
        encodings = model.encode(batch["image"])
        chosen = model.codebook[model.codes(batch["image"])]
        target = part._beside[1].encode_images(batch["image"], [None], [None])[0].normed[:, 1:]
        predicted = part.decoder(chosen)
    unit = [tensor / tensor.norm(dim=-1, keepdim=True) for tensor in (predicted, target)]
    distance = 1 - (unit[0] * unit[1]).sum(-1)  # (8, 16)
    assert found.sums["distillation"].item() == pytest.approx(8 * distance.mean().item(), rel=1e-5)
    square = ((encodings - chosen) ** 2).mean().item()
    assert found.sums["commitment"].item() == pytest.approx(0.5 * 8 * square, rel=1e-5)
    assert found.codes is not None and found.codes.sum() == 8 * 16
    assert part.counts(batch) == {"distillation": 8, "commitment": 8}


def test_gradients_pass_the_choice_and_stay_out_of_table_and_teacher() -> None:
    pretraining = tiny.distilling()
    losses = objective(pretraining)(Encoded(pretraining.model, images(0), Plan.of([])), 0)
    losses.sums["distillation"].backward()
    reached = {name for name, p in pretraining.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert "model.projection.0.weight" in reached and "model.image.patch_projection.weight" in reached
    assert not [name for name, _ in pretraining.named_parameters() if "teacher" in name or "codebook" in name]
    assert not pretraining.model.codebook.requires_grad
    assert "objectives.all.vqkd.hits" in dict(pretraining.named_buffers())


def test_the_table_starts_by_kmeans_of_the_first_step() -> None:
    pretraining = tiny.distilling()
    model, part = pretraining.model, objective(pretraining)
    with torch.no_grad():
        encodings = model.encode(images(0)["image"]).flatten(0, 1)
    found = part(Encoded(model, images(0), Plan.of([])), 0)
    assert not part.started
    part.after_step(listed(found), 0)
    assert part.started and part.hits.sum() == len(encodings)
    own = model.nearest(encodings)
    used = own.unique()
    assert len(used) > 8
    near = torch.stack([encodings[own == code].mean(0) for code in used])
    assert F.cosine_similarity(near, model.codebook[used]).min() > 0.9


def test_the_table_follows_the_mean_encoding_of_each_code() -> None:
    pretraining = tiny.distilling(decay=0.9)
    model, part = pretraining.model, objective(pretraining)
    part.started.fill_(True)
    before = model.codebook.clone()
    with torch.no_grad():
        encodings = model.encode(images(3)["image"]).flatten(0, 1)
    own = model.nearest(encodings)
    found = part(Encoded(model, images(3), Plan.of([])), 0)
    part.after_step(listed(found), 0)
    assert 1 < len(own.unique()) < model.num_codes
    for code in range(model.num_codes):
        mine = encodings[own == code]
        wanted = before[code]
        if len(mine):
            moved = 0.9 * before[code] + 0.1 * mine.mean(0) / mine.mean(0).norm()
            wanted = moved / moved.norm()
        torch.testing.assert_close(model.codebook[code], wanted, atol=1e-6, rtol=0)
        assert part.hits[code].item() == pytest.approx(0.1 * len(mine))


def test_codes_without_work_become_encodings() -> None:
    pretraining = tiny.distilling(revive=0.5)
    model, part = pretraining.model, objective(pretraining)
    part.started.fill_(True)
    part.hits.fill_(10.0)
    part.hits[[2, 5]] = 0.1
    model.codebook[[2, 5]] = -F.normalize(model.codebook.mean(0, keepdim=True), dim=1)
    with torch.no_grad():
        encodings = model.encode(images(4)["image"]).flatten(0, 1)
    found = part(Encoded(model, images(4), Plan.of([])), 0)
    part.after_step(listed(found), 7)
    apart = torch.cdist(model.codebook[[2, 5]], encodings).min(1)
    assert apart.values.max() < 1e-3 and len(apart.indices.unique()) == 2
    assert part.hits[[2, 5]].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("revive", [0.0, 2.0])
def test_any_split_into_micro_batches_is_one_step(revive: float) -> None:
    whole, cut = engine(tiny.distilling(revive=revive)), engine(tiny.distilling(revive=revive))
    assert train(cut, 0, 6, parts=4) == [pytest.approx(losses, rel=1e-4) for losses in train(whole, 0, 6)]
    torch.testing.assert_close(
        cut.module.get_buffer("model.codebook"), whole.module.get_buffer("model.codebook"), atol=1e-4, rtol=0
    )


def test_resumes_bit_for_bit() -> None:
    """Table, moving averages and the mark that the table has started are in the state, and nothing else is needed."""
    unbroken, stopped, resumed = (engine(tiny.distilling(revive=1.0)) for _ in range(3))
    wanted = train(unbroken, 0, 6)
    found = train(stopped, 0, 2)
    state = state_of(stopped)
    assert state["weights"]["objectives.all.vqkd.started"].item() is True
    resumed.load(Held(state))
    found += train(resumed, 2, 6)
    assert found == wanted
    first, second = state_of(unbroken), state_of(resumed)
    assert all(torch.equal(tensor, second["weights"][name]) for name, tensor in first["weights"].items())


def test_it_learns() -> None:
    trained = engine(tiny.distilling())
    losses = [train_on_same(trained, step) for step in range(40)]
    assert losses[-1] < 0.7 * losses[1]


def train_on_same(trained: Torch, step: int) -> float:
    record = run_step(trained, trained.module, "all", [images(0)], step, seed=0)  # type: ignore[arg-type]
    trained.step(5e-3, "all")
    trained.module.after_step(trained, "all", step, record.kept)
    return record.losses["distillation"].item()


def test_a_teacher_of_another_image_size_has_a_view_of_its_own() -> None:
    model = tiny.vqkd()
    small = {"part": "vit", **tiny.TOWER, "image_size": 32, "patch": 8}
    part = choose("objectives", "vqkd").build(model=model, teacher=tiny.flava(image=small))
    assert part.views["image_for_teacher"] == {"maker": "image_for_teacher", "size": 32}
    batch = images(0, 2) | {"image_for_teacher": torch.randn(2, 3, 32, 32)}
    assert part(Encoded(model, batch, Plan.of([])), 0).sums["distillation"].item() > 0
    assert set(choose("objectives", "vqkd").build(model=model, teacher=tiny.flava()).views) == {"image"}


def test_teachers_that_do_not_fit() -> None:
    model = tiny.vqkd()
    coarse = {"part": "vit", **tiny.TOWER, "image_size": tiny.IMAGE, "patch": 32}
    with pytest.raises(RecipeError, match=r"the teacher sees 2 x 2 patches .*, the tokenizer 4 x 4 patches"):
        choose("objectives", "vqkd").build(model=model, teacher=tiny.flava(image=coarse))
    for blind in (tiny.vqkd(), tiny.flava(image=None, fusion=None)):
        with pytest.raises(RecipeError, match="has no image encoder"):
            choose("objectives", "vqkd").build(model=model, teacher=blind)
