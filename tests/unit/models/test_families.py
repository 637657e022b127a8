"""The families: masked inputs are hidden, texts are read where they end, null encoders leave nothing behind."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests import tiny
from vltk.errors import RecipeError, VltkError
from vltk.models import inference
from vltk.models.heads import clamped_scale
from vltk.models.layers import Rows
from vltk.models.tokens import Text
from vltk.parts import choose


def test_hidden_patches_are_hidden() -> None:
    """What lies under a mask changes nothing, neither in the image encoder nor in the fused tokens."""
    model, batch = tiny.flava(), tiny.batch()
    masked = batch["image_masked_at"]
    hidden = masked.view(-1, 4, 4).repeat_interleave(16, 1).repeat_interleave(16, 2)[:, None]  # (B, 1, S, S)
    other = torch.where(hidden, torch.randn_like(batch["image"]) * 9, batch["image"])
    before = model.encode_images(batch["image"], [masked], [None])[0].normed
    after = model.encode_images(other, [masked], [None])[0].normed
    assert torch.equal(before, after)


@pytest.mark.parametrize(("names", "loss"), [(("mim",), "mim"), (("mlm",), "mlm"), (("mmm",), "mmm_text")])
def test_a_masked_position_never_sees_its_label(names: tuple[str, ...], loss: str) -> None:
    """Logits stay as they are when the labels change: only the loss does."""
    model, batch = tiny.flava(), tiny.batch()
    head, seen = model.heads[loss], []
    head.register_forward_hook(lambda module, inputs, output: seen.append(output.detach()))
    pretraining = tiny.pretraining(model, *names)
    first = pretraining("all", batch, 0)[0].sums[loss]
    changed = dict(batch)
    if loss == "mim":
        changed["codes"] = (batch["codes"] + 1) % tiny.CODES
    else:
        changed["text"] = torch.where(batch["text_masked_at"], 5 + (batch["text"] + 1) % 40, batch["text"])
    second = pretraining("all", changed, 0)[0].sums[loss]
    assert torch.equal(seen[0], seen[1])
    assert first != second


def test_uint8_images_are_normalised_and_floats_taken_as_they_are() -> None:
    model = tiny.flava()
    images = torch.randint(0, 256, (2, 3, tiny.IMAGE, tiny.IMAGE), dtype=torch.uint8)
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]
    ready = (images / 255 - mean) / std
    torch.testing.assert_close(inference.image_features(model, images), inference.image_features(model, ready))


def test_image_encodings() -> None:
    model, images = tiny.flava().eval(), torch.randn(2, 3, tiny.IMAGE, tiny.IMAGE)
    found = inference.image_encodings(model, images, ["cls", "cls_before_norm", "patches", "embedding"])
    tokens = model.encode_images(images, [None], [None])[0]
    torch.testing.assert_close(found["cls"], tokens.normed[:, 0])
    torch.testing.assert_close(found["cls_before_norm"], tokens.before_norm[:, 0])
    torch.testing.assert_close(found["patches"], tokens.normed[:, 1:].mean(1))
    torch.testing.assert_close(found["embedding"].norm(dim=1), torch.ones(2))


def test_patches_are_cut_as_a_convolution_cuts_them() -> None:
    model = tiny.flava()
    images = torch.randn(2, 3, tiny.IMAGE, tiny.IMAGE)
    projection = model.image.patch_projection
    kernel = projection.weight.view(tiny.WIDTH, 3, 16, 16)
    wanted = torch.conv2d(images, kernel, projection.bias, stride=16).flatten(2).mT
    found = model.image.embed(images, [None])[:, 1:] - model.image.positions[1:]
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", ["flava", "clip"])
def test_padding_does_not_change_an_embedding(family: str) -> None:
    model: Any = getattr(tiny, family)()
    batch = tiny.batch()
    together = inference.text_embeddings(model, batch["text"], batch["text_length"])
    torch.testing.assert_close(together.norm(dim=1), torch.ones(6))
    for number, length in enumerate(batch["text_length"].tolist()):
        ids = batch["text"][number : number + 1, :length]
        alone = inference.text_embeddings(model, ids, torch.tensor([length]))
        torch.testing.assert_close(together[number : number + 1], alone, atol=1e-5, rtol=1e-4)


def test_clip_reads_a_text_at_its_last_token() -> None:
    model, batch = tiny.clip(), tiny.batch()
    text = Text(batch["text"], batch["text_length"])
    whole = model.encode_texts([text], [None])[0]
    pruned = model.encode_texts([text], [Rows.first(batch["text"])])[0]
    assert pruned.hidden.shape[1] == 1
    last = whole.normed[torch.arange(6), batch["text_length"] - 1]
    torch.testing.assert_close(whole.cls, last)
    torch.testing.assert_close(pruned.cls, last, atol=1e-6, rtol=1e-5)


def test_encoders_given_as_null_leave_nothing_behind() -> None:
    image = {"part": "vit", **tiny.TOWER, "image_size": tiny.IMAGE}
    model: Any = choose("models/families", "flava", image=image, text=None, fusion=None, codes=tiny.CODES).build()
    assert {name.partition(".")[0] for name, _ in model.named_parameters()} == {"image", "heads"}
    assert list(model.heads) == ["mim"]
    assert tiny.pretraining(model, "mim")("all", tiny.batch(), 0)[0].sums["mim"] > 0
    with pytest.raises(RecipeError, match="fusion: needs both image and text"):
        choose("models/families", "flava", image=image, text=None, fusion="joint").build()


def test_the_scale_is_held_and_can_come_back() -> None:
    for start, wanted in ((9.0, 100.0), (-2.0, 1.0), (2.0, torch.tensor(2.0).exp().item())):
        logit_scale = torch.tensor(start, requires_grad=True)
        scale = clamped_scale(logit_scale)
        scale.backward()
        assert scale.item() == pytest.approx(wanted, rel=1e-5)
        assert logit_scale.grad is not None and logit_scale.grad.item() == pytest.approx(wanted, rel=1e-5)


def test_sizes_that_do_not_fit() -> None:
    model = tiny.flava()
    with pytest.raises(VltkError, match=r"images of \(32, 40\) given, which are no multiples of the patch 16"):
        model.encode_images(torch.zeros(1, 3, 32, 40), [None], [None])
    with pytest.raises(VltkError, match="text of 30 tokens given, the encoder takes 24"):
        model.encode_texts([Text(torch.ones(1, 30, dtype=torch.long), torch.tensor([30]))], [None])
    with pytest.raises(RecipeError, match="^image.image_size: 50 given, which is no multiple of patch 16"):
        choose("models/families", "flava", image={"part": "vit", "image_size": 50}, text=None, fusion=None).build()
