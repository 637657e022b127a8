"""The visual tokenizer's loss against densities and sums written out in numpy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from vltk.models.codebooks._usage import counted, usage
from vltk.models.encoded import Encoded
from vltk.models.passes import Plan
from vltk.objectives.dvae import half_cosine, kl_to_uniform, logit_laplace, psnr
from vltk.parts import choose
from vltk.train.pretraining import Pretraining


def test_logit_laplace_is_a_density() -> None:
    """The negative logarithm of equation (2) of arXiv 2102.12092, and it integrates to one."""
    grid = torch.linspace(1e-6, 1 - 1e-6, 400_001, dtype=torch.float64)
    for mean, log_scale in ((0.0, 0.0), (1.5, -0.7), (-2.0, 0.4)):
        loss = logit_laplace(grid, torch.tensor(mean), torch.tensor(log_scale))
        density = torch.exp(-loss).numpy()
        assert np.trapezoid(density, grid.numpy()) == pytest.approx(1, abs=2e-3)
        x, b = 0.3, math.exp(log_scale)
        wanted = math.log(2 * b * x * (1 - x)) + abs(math.log(x / (1 - x)) - mean) / b
        at = torch.tensor(x, dtype=torch.float64)
        assert logit_laplace(at, torch.tensor(mean), torch.tensor(log_scale)).item() == pytest.approx(wanted)


def test_kl_to_uniform() -> None:
    logits = torch.randn(2, 5, 3, 4, dtype=torch.float64)
    shares = torch.softmax(logits, 1).numpy()
    wanted = (shares * np.log(shares * 5)).sum(1)
    np.testing.assert_allclose(kl_to_uniform(logits).numpy(), wanted, atol=1e-12)
    assert kl_to_uniform(torch.zeros(1, 5, 1, 1)).item() == pytest.approx(0, abs=1e-6)
    certain = torch.tensor([50.0, 0, 0, 0, 0]).view(1, 5, 1, 1)
    assert kl_to_uniform(certain).item() == pytest.approx(math.log(5), abs=1e-5)


def test_schedules() -> None:
    assert half_cosine(1, 0.25, 0) == 1
    assert half_cosine(1, 0.25, 0.5) == pytest.approx(0.625)
    assert half_cosine(1, 0.25, 1) == half_cosine(1, 0.25, 7) == 0.25


def test_psnr_of_each_image() -> None:
    images = torch.rand(3, 3, 4, 4)
    others = (images + torch.tensor([0.0, 0.1, 0.01]).view(3, 1, 1, 1)).double()
    assert psnr(images.double(), others).tolist() == pytest.approx([100, 20, 40], abs=1e-3)


def test_the_codes_of_a_micro_batch_are_counted() -> None:
    codes: Any = choose("models/codebooks", "dvae", width=8, blocks=1, groups=3, codes=12, code_width=8).build()
    images = torch.randint(0, 256, (4, 3, 16, 16), dtype=torch.uint8)
    losses = choose("objectives", "dvae").build(model=codes)(Encoded(codes, {"image": images}, Plan.of([])), 0)
    assert losses.codes.tolist() == torch.bincount(codes.codes(images).flatten(), minlength=12).tolist()
    assert 0 < losses.metrics["psnr"] < 40


def test_loss_is_a_mean_over_images_and_learns() -> None:
    torch.manual_seed(0)
    codes: Any = choose("models/codebooks", "dvae", width=8, blocks=1, groups=3, codes=12, code_width=8).build()
    objective = choose("objectives", "dvae", kl_steps=1, temperature_steps=1).build(model=codes)
    images = torch.randint(0, 256, (4, 1, 4, 4), dtype=torch.uint8)
    images = images.repeat_interleave(4, 2).repeat_interleave(4, 3).expand(-1, 3, -1, -1)
    assert objective.counts({"image": images}) == {"reconstruction": 4, "kl": 4}
    optimizer = torch.optim.Adam(codes.parameters(), 3e-3)
    totals = []
    for step in range(60):
        losses = objective(Encoded(codes, {"image": images}, Plan.of([])), step)
        total = sum(losses.sums.values()) / 4
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
    assert np.mean(totals[-5:]) < np.mean(totals[:5]) - 0.1
    assert losses.metrics["temperature"] == pytest.approx(1 / 16)


def test_codes_and_back_have_the_right_shapes() -> None:
    codes: Any = choose("models/codebooks", "dvae", width=8, blocks=1, groups=3, codes=12).build()
    images = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    assert codes.codes(images).shape == (2, 16)
    again = codes.reconstruct(images)
    assert again.shape == images.shape and again.dtype == torch.uint8
    assert torch.equal(codes.codes(images / 255), codes.codes(images))


def started(parts: int, kmeans: bool = True) -> Any:
    """A tokenizer behind the first step on 16 images in so many micro-batches, and those images."""
    torch.manual_seed(0)
    codes: Any = choose("models/codebooks", "dvae", width=8, blocks=1, groups=3, codes=32, code_width=8).build()
    part = choose("objectives", "dvae", kmeans=kmeans).build(model=codes)
    pretraining = Pretraining(codes, {"all": {"dvae": part}}).train()
    images = torch.randint(0, 256, (16, 3, 4, 4), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    images = images.repeat_interleave(4, 2).repeat_interleave(4, 3)
    kept = [pretraining("all", {"image": some}, 0)[0].kept for some in images.chunk(parts)]
    part.after_step({name: [one[name] for one in kept] for name in kept[0]}, 0)
    return codes, images


def test_a_start_by_kmeans_uses_the_codes() -> None:
    """Each patch has the code whose centre is nearest to its feature; at random a few codes have nearly all patches."""
    codes, images = started(1)
    without, _ = started(1, kmeans=False)
    found, before = (usage(counted(some.codes(images), 32))["perplexity"] for some in (codes, without))
    assert found > 15 and found > 1.5 * before
    features = codes.features(images)
    logits = codes.logits(images).detach().permute(0, 2, 3, 1).flatten(0, 2)
    own = codes.codes(images).flatten()
    centres = torch.stack([features[own == code].mean(0) for code in own.unique()])
    far, mine = torch.cdist(features, centres).square(), logits[:, own.unique()]
    gaps = [(far[:, :1] - far)[:, 1:].flatten(), (mine - mine[:, :1])[:, 1:].flatten()]
    assert torch.corrcoef(torch.stack(gaps))[0, 1] > 0.99  # logits are squared distances, scaled
    assert 0.3 < logits.softmax(1).max(1).values.mean() < 1


def test_a_start_by_kmeans_sees_the_whole_step() -> None:
    torch.testing.assert_close(
        started(1)[0].encoder.output.weight, started(4)[0].encoder.output.weight, rtol=1e-3, atol=1e-3
    )


def test_codes_that_no_patch_is_certain_of_leave_the_gradient_finite() -> None:
    """A share that underflows to 0 would make it infinite."""
    logits = torch.zeros(2, 3, 1, 1)
    logits[:, 0] = 500.0
    logits.requires_grad_()
    part: Any = choose("objectives", "code_usage").build()
    losses = part.compare(logits.softmax(1).mean((2, 3)), batch={})
    losses.sums["code_usage"].backward()
    assert losses.sums["code_usage"].item() == pytest.approx(0.1 * 2 * math.log(3), rel=1e-4)
    assert logits.grad is not None and logits.grad.isfinite().all()


def test_the_layers_next_to_the_codes_are_exact_under_autocast() -> None:
    codes, images = started(1)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert codes.logits(images).dtype == torch.float32
