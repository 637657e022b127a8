"""DINO against a direct reading of its formulas (facebookresearch/dino main_dino.py, vision_transformer.py)."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from tests import tiny
from vltk.objectives.dino import cross_entropy
from vltk.recipe import Optimizer
from vltk.train.accumulate import run_step
from vltk.train.engines.torch import Torch
from vltk.train.optim import groups

IMAGES, OUTPUTS = 5, 11


def naive_loss(student: list[Tensor], teacher: list[Tensor], centre: Tensor, temperature: float) -> float:
    """Pair by pair, image by image, output by output: student and teacher are lists of crops, each (B, K) logits."""
    terms = []
    for i, said in enumerate(teacher):
        for v, guess in enumerate(student):
            if v == i:
                continue
            for image in range(len(said)):
                sharp = ((said[image] - centre) / temperature).double()
                target = [math.exp(x) / sum(math.exp(y) for y in sharp) for x in sharp]
                soft = (guess[image] / 0.1).double()
                whole = math.log(sum(math.exp(y) for y in soft))
                terms.append(-sum(p * (float(x) - whole) for p, x in zip(target, soft, strict=True)))
    return sum(terms) / len(terms)


@pytest.mark.parametrize("crops", [2, 3, 6])
def test_the_loss_is_the_mean_over_pairs_of_different_crops(crops: int) -> None:
    generator = torch.Generator().manual_seed(crops)
    student, teacher = (torch.rand(IMAGES, n, OUTPUTS, generator=generator) * 2 - 1 for n in (crops, 2))
    centre = 0.3 * torch.randn(OUTPUTS, generator=generator)
    target = ((teacher - centre) / 0.05).softmax(-1)
    ours = cross_entropy(student / 0.1, target)
    assert ours.shape == (IMAGES,)
    wanted = naive_loss(list(student.unbind(1)), list(teacher.unbind(1)), centre, 0.05)
    assert float(ours.mean()) == pytest.approx(wanted, rel=1e-5)


def test_a_step_from_images_to_loss_centre_and_teacher() -> None:
    """Student and teacher run crop by crop, the teacher's update and the centre's as the formulas say."""
    model, batch = tiny.flava(text=None, fusion=None), tiny.crops(IMAGES)
    pretraining = tiny.dino(
        model, steps=10, first_teacher_temperature=0.04, teacher_temperature=0.07, temperature_warmup=8
    )
    part = pretraining.of("all")["dino"]
    part.centre.copy_(0.2 * torch.randn(len(part.centre), generator=torch.Generator().manual_seed(1)))  # type: ignore[attr-defined]
    centre = part.centre.clone()  # type: ignore[attr-defined]
    teacher = pretraining.replicas["teacher"].module
    with torch.no_grad():
        for parameter in teacher.parameters():  # else it is the student
            parameter.add_(0.02)
    before = {name: tensor.clone() for name, tensor in teacher.named_parameters()}

    def outputs(model: nn.Module, head: nn.Module, images: Tensor) -> Tensor:
        encoder = model.get_submodule("image")
        return head(encoder.encode(images, [None], [None])[0].cls)  # type: ignore[operator]

    with torch.no_grad():
        crops = [*batch["crops"].unbind(1), *batch["local_crops"].unbind(1)]
        student = [outputs(model, part.head, images) for images in crops]  # type: ignore[attr-defined]
        head = teacher.get_submodule("objectives.all.dino.head")
        taught = [outputs(teacher.get_submodule("model"), head, images) for images in crops[:2]]
    wanted = naive_loss(student, taught, centre, 0.04 + 5 / 8 * 0.03)

    engine = Torch(pretraining, groups(pretraining, {"all": pretraining.reached("all", batch)}), Optimizer(), "fp32")
    record = run_step(engine, pretraining, "all", [batch], step=5, seed=0)
    assert float(record.losses["dino"]) == pytest.approx(wanted, rel=1e-4)
    engine.step(1e-2, "all", 5)
    pretraining.after_step(engine, "all", 5, record.kept)
    mean = torch.cat(taught).mean(0)
    torch.testing.assert_close(part.centre, 0.9 * centre + 0.1 * mean)  # type: ignore[attr-defined]
    momentum = 1 - 0.1 * (math.cos(math.pi * 5 / 10) + 1) / 2
    trained = dict(pretraining.named_parameters())
    for name, parameter in teacher.named_parameters():
        torch.testing.assert_close(parameter, momentum * before[name] + (1 - momentum) * trained[name].detach())


def test_the_last_layer_is_a_weight_normed_linear_one_of_scale_1() -> None:
    head = tiny.dino(tiny.flava(text=None, fusion=None)).of("all")["dino"].head  # type: ignore[attr-defined]
    bottleneck = head.last.weight.shape[1]
    theirs = nn.utils.parametrizations.weight_norm(nn.Linear(bottleneck, len(head.last.weight), bias=False))
    with torch.no_grad():
        theirs.parametrizations.weight.original0.fill_(1)  # type: ignore[union-attr]
        theirs.parametrizations.weight.original1.copy_(head.last.weight)  # type: ignore[union-attr]
        cls = torch.randn(4, tiny.WIDTH)
        expected = theirs(nn.functional.normalize(head.mlp(cls), dim=-1))
        torch.testing.assert_close(head(cls), expected)
