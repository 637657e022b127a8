"""One step out of micro-batches: every split gives the same losses, gradients and contrastive negatives."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
import torch
from torch import Tensor

from tests import tiny
from vltk.train.accumulate import Batch, run_step, set_noise

SIZE = 8
LENGTHS = (12, 7, 4, 9, 12, 5, 12, 8)
MATCHED = (1, 0, 1, 1, 0, 1, 0, 0)  # the last two of eight: a micro-batch without any match
NAMES = ("itc", "itm", "mmm")


class Bf16(tiny.Bare):
    """The same under bf16 autocast, as the torch engine runs."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with torch.autocast("cpu", torch.bfloat16):
            return super().__call__(*args, **kwargs)


def pieces(batch: dict[str, Tensor], count: int) -> list[Batch]:
    """The batch in `count` micro-batches."""
    cut = {name: tensor.chunk(count) for name, tensor in batch.items()}
    return [{name: parts[i] for name, parts in cut.items()} for i in range(count)]


def step(
    model: Any, names: Iterable[str], batches: list[Batch], engine: type[tiny.Bare] = tiny.Bare
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    model.zero_grad(set_to_none=True)
    pretraining = tiny.pretraining(model, *names)
    record = run_step(engine(pretraining), pretraining, "all", batches, step=3, seed=1)
    return record.losses, tiny.gradients(model)


@pytest.mark.parametrize("count", [2, 4, 8])
def test_every_split_gives_the_same_losses_and_gradients(count: int) -> None:
    model, batch = tiny.flava(), tiny.batch(SIZE, LENGTHS, MATCHED)
    losses, gradients = step(model, NAMES, [batch])
    split_losses, split_gradients = step(model, NAMES, pieces(batch, count))
    assert set(split_losses) == set(losses) == {"itc", "itm", "mmm_image", "mmm_text"}
    for name, loss in losses.items():
        torch.testing.assert_close(split_losses[name], loss, rtol=1e-6, atol=0, msg=name)
    assert set(split_gradients) == set(gradients)
    assert "logit_scale" in gradients
    for name, gradient in gradients.items():
        difference = (split_gradients[name] - gradient).norm()
        assert difference <= 1e-5 * gradient.norm() + 1e-7, name


@pytest.mark.parametrize("names", [("mim",), ("mlm",), ("itc",), ("itm",)])
def test_the_same_for_each_loss_alone(names: tuple[str, ...]) -> None:
    model, batch = tiny.flava(), tiny.batch(SIZE, LENGTHS, MATCHED)
    losses, gradients = step(model, names, [batch])
    split_losses, split_gradients = step(model, names, pieces(batch, 4))
    for name, loss in losses.items():
        torch.testing.assert_close(split_losses[name], loss, rtol=1e-6, atol=0)
    for name, gradient in gradients.items():
        assert (split_gradients[name] - gradient).norm() <= 1e-5 * gradient.norm() + 1e-7, name


def test_two_towers() -> None:
    model, batch = tiny.clip(), tiny.batch(SIZE, LENGTHS)
    losses, gradients = step(model, ("itc",), [batch])
    split_losses, split_gradients = step(model, ("itc",), pieces(batch, 4))
    torch.testing.assert_close(split_losses["itc"], losses["itc"], rtol=1e-6, atol=0)
    for name, gradient in gradients.items():
        assert (split_gradients[name] - gradient).norm() <= 1e-5 * gradient.norm() + 1e-7, name


def test_under_bf16_the_contrastive_loss_stays_the_same() -> None:
    """Similarities are taken in fp32 whether or not micro-batches are joined."""
    model, batch = tiny.flava(), tiny.batch(SIZE, LENGTHS)
    whole, _ = step(model, ("itc",), [batch], Bf16)
    split, _ = step(model, ("itc",), pieces(batch, 4), Bf16)
    torch.testing.assert_close(split["itc"], whole["itc"], rtol=1e-4, atol=0)


def test_dropout_draws_the_same_noise_for_the_cached_gradient() -> None:
    """With dropout on, the embeddings of both forwards of a micro-batch are equal, and a step repeats exactly."""
    tower = {**tiny.TOWER, "dropout": 0.3}
    image = {"part": "vit", **tower, "image_size": tiny.IMAGE}
    text = {"part": "bert", **tower, "vocab": tiny.VOCAB, "max_length": 24}
    model = tiny.flava(image=image, text=text).train()
    batches = pieces(tiny.batch(SIZE, LENGTHS), 2)
    pretraining = tiny.pretraining(model, "itc")
    seen: list[Tensor] = []

    class Watched(tiny.Bare):
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            losses, embedded = super().__call__(*args, **kwargs)
            seen.append(embedded["itc"][0].detach())
            return losses, embedded

    first = run_step(Watched(pretraining), pretraining, "all", batches, step=3, seed=1)
    assert torch.equal(seen[0], seen[2]) and torch.equal(seen[1], seen[3])
    assert not torch.equal(seen[0], seen[1])
    again = run_step(tiny.Bare(pretraining), pretraining, "all", batches, step=3, seed=1)
    other = run_step(tiny.Bare(pretraining), pretraining, "all", batches, step=4, seed=1)
    assert torch.equal(first.losses["itc"], again.losses["itc"])
    assert not torch.equal(first.losses["itc"], other.losses["itc"])


def test_noise_is_a_function_of_seed_step_and_micro_batch() -> None:
    drawn = {}
    for key in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)):
        set_noise(*key)
        drawn[key] = torch.rand(()).item()
    assert len(set(drawn.values())) == 4
    set_noise(0, 1, 0)
    assert torch.rand(()).item() == drawn[0, 1, 0]
    torch.manual_seed(hash((0, 1, 0, 0)) & 0x7FFFFFFFFFFFFFFF)
    assert torch.rand(()).item() == drawn[0, 1, 0]


def test_metrics_of_every_micro_batch_are_kept() -> None:
    model, batch = tiny.flava(), tiny.batch(SIZE, LENGTHS, MATCHED)
    pretraining = tiny.pretraining(model, *NAMES)
    record = run_step(tiny.Bare(pretraining), pretraining, "all", pieces(batch, 4), step=0, seed=0)
    assert len(record.metrics["itm_accuracy"]) == 4
    assert len(record.metrics["itc_accuracy"]) == 1
    assert torch.isnan(torch.stack(record.metrics["mmm_text_accuracy"])).tolist() == [False, False, False, True]


def test_the_use_of_codes_is_that_of_the_whole_step() -> None:
    from vltk.models.codebooks.dvae import DVae
    from vltk.objectives.code_usage import CodeUsage
    from vltk.train.pretraining import Pretraining

    torch.manual_seed(0)
    model = DVae(width=8, blocks=1, groups=2, codes=6, code_width=8, decoder=False)
    model.encoder.output.weight.data.mul_(20)
    batch = {"image": torch.rand(SIZE, 3, 8, 8)}
    pretraining = Pretraining(model, {"all": {"code_usage": CodeUsage(weight=0.5)}})
    results = []
    for count in (1, 4):
        model.zero_grad(set_to_none=True)
        record = run_step(tiny.Bare(pretraining), pretraining, "all", pieces(batch, count), step=0, seed=0)
        results.append((record.losses["code_usage"], tiny.gradients(model)))
    (whole, gradients), (split, split_gradients) = results
    share = model.logits(batch["image"]).softmax(1).mean((0, 2, 3))
    torch.testing.assert_close(whole, 0.5 * (share * (share * 6).log()).sum().detach())
    torch.testing.assert_close(split, whole, rtol=1e-6, atol=0)
    for name, gradient in gradients.items():
        assert (split_gradients[name] - gradient).norm() <= 1e-5 * gradient.norm() + 1e-7, name
