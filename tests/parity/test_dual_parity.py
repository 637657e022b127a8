"""The family `dual` against transformers' VisionTextDualEncoderModel: embeddings and logits, read from its folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests import tiny
from tests.parity.test_encoders_parity import IMAGE, ROBERTA, TEXT, saved, texts
from vltk.errors import VltkError
from vltk.hf import HfFolder
from vltk.models.layers import Rows
from vltk.run import load

transformers = pytest.importorskip("transformers")

BLOCK_NORMS = ("layernorm_before.weight", "layernorm_after.weight", "layer_norm1.weight", "layer_norm2.weight")
PAIRS = [("ViT", "Bert"), ("ViT", "Roberta"), ("CLIPVision", "Bert"), ("CLIPVision", "Roberta")]


def dual_model(image: str = "ViT", text: str = "Bert") -> Any:
    """One of tiny encoders, every parameter random, norms around 1."""
    model = tiny.randomised(transformers.VisionTextDualEncoderModel(dual_config(image, text)), seed=3, std=0.2)
    for name, parameter in model.named_parameters():
        if name.endswith((*BLOCK_NORMS, "LayerNorm.weight")):
            parameter.data.add_(1)
    return model


def dual_config(image: str, text: str, **options: Any) -> Any:
    vision = getattr(transformers, f"{image}Config")(**(IMAGE | options))
    words = getattr(transformers, f"{text}Config")(**(ROBERTA if text == "Roberta" else TEXT))
    kind = transformers.VisionTextDualEncoderConfig
    return kind.from_vision_text_configs(vision, words, projection_dim=24, architectures=["VisionTextDualEncoderModel"])


@pytest.mark.parametrize(("image", "text"), PAIRS)
def test_embeddings_and_logits(image: str, text: str, tmp_path: Path) -> None:
    theirs = dual_model(image, text)
    ours: Any = load(saved(theirs, tmp_path / "theirs")).model
    images = torch.randn(4, 3, tiny.IMAGE, tiny.IMAGE)
    words, mask = texts(1 if text == "Roberta" else 0)
    with torch.no_grad():
        out = theirs(input_ids=words.ids, attention_mask=mask, pixel_values=images)
        image_rows = ours.embed_image(ours.encode_images(images, [None], [Rows.first(images)])[0])
        text_rows = ours.embed_text(ours.encode_texts([words], [Rows.first(words.ids)])[0])
    torch.testing.assert_close(image_rows, out.image_embeds, atol=2e-6, rtol=0)
    torch.testing.assert_close(text_rows, out.text_embeds, atol=2e-6, rtol=0)
    assert ours.scale().item() == pytest.approx(theirs.logit_scale.exp().item())
    torch.testing.assert_close(ours.scale() * image_rows @ text_rows.T, out.logits_per_image, atol=5e-5, rtol=0)
    assert (out.image_embeds[0] - out.image_embeds[1]).abs().max() > 1e-2  # each image its own


def test_pixels_are_normalised_as_the_processors_do(tmp_path: Path) -> None:
    """ViT's to -1 and 1, CLIP's by its own mean, where the folder says nothing; else as it says."""
    folders = {name: saved(dual_model(name), tmp_path / name) for name in ("ViT", "CLIPVision")}
    means = {name: load(folder).model.image.mean.flatten() for name, folder in folders.items()}  # type: ignore[operator,union-attr]
    torch.testing.assert_close(means["ViT"], torch.full((3,), 0.5))
    torch.testing.assert_close(means["CLIPVision"], torch.tensor([0.48145466, 0.4578275, 0.40821073]))
    content = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.2, 0.1]}
    (folders["ViT"] / "preprocessor_config.json").write_text(json.dumps(content))
    model: Any = load(folders["ViT"]).model
    torch.testing.assert_close(model.image.mean.flatten(), torch.tensor([0.5, 0.4, 0.3]))


def test_clips_tower_may_say_its_name_once_or_twice(tmp_path: Path) -> None:
    """As transformers has written it before and since."""
    folder = saved(dual_model("CLIPVision"), tmp_path / "theirs")
    plain = HfFolder(folder).model.weights()
    file = load_file(folder / "model.safetensors")
    once = {name.replace("vision_model.vision_model.", "vision_model."): tensor for name, tensor in file.items()}
    twice = {name.replace("vision_model.", "vision_model.vision_model."): tensor for name, tensor in once.items()}
    for variant in (once, twice):
        save_file(variant, folder / "model.safetensors")
        found = HfFolder(folder).model.weights()
        assert set(found) == set(plain) and all(torch.equal(found[name], tensor) for name, tensor in plain.items())


def test_a_pooler_must_be_there(tmp_path: Path) -> None:
    folder = saved(dual_model(), tmp_path / "theirs")
    file = load_file(folder / "model.safetensors")
    del file["text_model.pooler.dense.bias"]
    save_file(file, folder / "model.safetensors")
    with pytest.raises(VltkError, match=r"text_model.pooler.dense.bias: missing, the model wants \(32,\)"):
        HfFolder(folder).model.check()


def test_other_encoders_are_refused_by_name(tmp_path: Path) -> None:
    vision, words = transformers.BeitConfig(), transformers.DistilBertConfig()
    kind = transformers.VisionTextDualEncoderConfig
    config = kind.from_vision_text_configs(vision, words, architectures=["VisionTextDualEncoderModel"])
    config.save_pretrained(tmp_path)
    with pytest.raises(
        VltkError,
        match=r"vision_config.model_type: 'beit' given; have: vit, clip_vision_model\n.*"
        r"text_config.model_type: 'distilbert' given; have: bert, roberta",
    ):
        _ = HfFolder(tmp_path).model


@pytest.mark.parametrize(
    ("image", "options", "message"),
    [
        ("ViT", {"pooler_act": "relu"}, "vision_config.pooler_act: 'relu' given, only 'tanh'"),
        ("ViT", {"qkv_bias": False}, "vision_config.qkv_bias: False given, only True"),
        ("CLIPVision", {"num_channels": 4}, "vision_config.num_channels: 4 given, only 3"),
    ],
)
def test_sizes_that_cannot_be_expressed(image: str, options: dict[str, Any], message: str, tmp_path: Path) -> None:
    dual_config(image, "Bert", **options).save_pretrained(tmp_path)
    with pytest.raises(VltkError, match=message):
        _ = HfFolder(tmp_path).model
