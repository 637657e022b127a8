"""The two-tower family against transformers' CLIPModel: logits, loss and gradients, both activations."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests import tiny
from vltk.models.hf import clip
from vltk.models.layers import Rows
from vltk.models.tokens import Text
from vltk.models.weights import to_ours, to_theirs
from vltk.parts import choose
from vltk.train.accumulate import run_step

transformers = pytest.importorskip("transformers")
END = 3  # the token that ends a text


def twins(activation: str) -> tuple[Any, Any, Any]:
    """Their model, ours with its weights, and the map between them."""
    tower: dict[str, Any] = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 48,
    }
    tower |= {"hidden_act": activation}
    text = {**tower, "vocab_size": tiny.VOCAB, "max_position_embeddings": 24}
    config = transformers.CLIPConfig(
        text_config={**text, "eos_token_id": END, "bos_token_id": 2, "pad_token_id": 0},
        vision_config={**tower, "image_size": tiny.IMAGE, "patch_size": 16},
        projection_dim=24,
    )
    theirs = tiny.randomised(transformers.CLIPModel(config), seed=2, std=0.2)
    choice = choose("models/families", "clip", **clip.options(config))
    ours: Any = choice.build().eval()
    ours.load_state_dict(to_ours(clip.links(choice), theirs.state_dict(), ours.state_dict()))
    return theirs, ours, clip.links(choice)


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
def test_logits_loss_and_gradients(activation: str) -> None:
    theirs, ours, links = twins(activation)
    batch = tiny.batch(6)
    ids = batch["text"].where(batch["text"] != END, torch.tensor(END + 1))
    ids[torch.arange(6), batch["text_length"] - 1] = END
    batch["text"] = ids
    real = (torch.arange(ids.shape[1]) < batch["text_length"][:, None]).long()
    out = theirs(input_ids=ids, pixel_values=batch["image"], attention_mask=real, return_loss=True)
    out.loss.backward()
    wanted = tiny.gradients(theirs)

    pretraining = tiny.pretraining(ours, "itc")
    record = run_step(tiny.Bare(pretraining), pretraining, "all", [batch], step=0, seed=0)
    torch.testing.assert_close(record.losses["itc"], out.loss.detach(), rtol=1e-5, atol=0)
    found = to_theirs(links, tiny.gradients(ours))
    assert set(found) == set(wanted)
    for name, gradient in found.items():
        rounding = 1e-7 if name.endswith("k_proj.bias") else 0  # zero in truth: softmax cannot see it
        assert (gradient - wanted[name]).norm() <= 1e-4 * wanted[name].norm() + rounding, name


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
def test_embeddings(activation: str) -> None:
    theirs, ours, _ = twins(activation)
    batch = tiny.batch(6)
    batch["text"][torch.arange(6), batch["text_length"] - 1] = END
    with torch.no_grad():
        out = theirs(input_ids=batch["text"], pixel_values=batch["image"])
        first = (batch["text"] == END).int().argmax(1)  # theirs ends a text at the first end token
        image = ours.embed_image(ours.encode_images(batch["image"], [None], [Rows.first(batch["image"])])[0])
        text = ours.embed_text(ours.encode_texts([Text(batch["text"], first + 1)], [Rows.first(batch["text"])])[0])
    torch.testing.assert_close(image, out.image_embeds, atol=2e-6, rtol=0)
    torch.testing.assert_close(text, out.text_embeds, atol=2e-6, rtol=0)
    torch.testing.assert_close(ours.scale() * image @ text.T, out.logits_per_image, atol=2e-5, rtol=0)
