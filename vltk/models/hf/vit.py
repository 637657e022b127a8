"""transformers' ViTModel (modeling_vit.py, 5.23), the image encoder of FLAVA alone, and the family `bare`.

Both files name their tensors alike. DINO's ViT folders are ViTModel; DeiT without a distillation token is
ViTForImageClassification. Not taken: the pooler, the classifier.
"""

from __future__ import annotations

import re
from typing import Any

from vltk.models.hf import flava
from vltk.models.hf.checks import Pixels, differing, refuse, side
from vltk.models.weights import Link, Weights
from vltk.parts import Choice, choose

CONFIGS = {
    "ViTModel": "ViTConfig",
    "ViTForImageClassification": "ViTConfig",
    "FlavaImageModel": "FlavaImageConfig",
}
UNUSED = re.compile(r"(vit\.)?(pooler\.dense|classifier)\.(weight|bias)")
HALF = (0.5, 0.5, 0.5)  # mean and std of ViTImageProcessor where a folder says none; FLAVA's is our own default
FIXED = {"qkv_bias": True, "num_channels": 3, "attention_probs_dropout_prob": 0.0}
ACTIVATIONS = ("gelu", "quick_gelu")


def options(config: Any, place: str = "config") -> dict[str, Any]:
    """The options of our encoder for a ViTConfig or FlavaImageConfig, which stands at `place` of a folder's config.

    Raises VltkError naming every key that we cannot express.
    """
    problems = differing(place, config, FIXED)
    if config.hidden_act not in ACTIVATIONS:
        problems.append(f"{place}.hidden_act: {config.hidden_act!r} given; have: {', '.join(ACTIVATIONS)}")
    size = {key: side(place, config, key, problems) for key in ("image_size", "patch_size")}
    refuse("this image encoder is none that vltk has", problems)
    image = flava.sizes("vit", config) | {"image_size": size["image_size"], "patch": size["patch_size"]}
    return image | {"activation": config.hidden_act, "mask_token": getattr(config, "mask_token", False)}


def model(config: Any, pixels: Pixels) -> Choice:
    """Our encoder alone, its pixels normalised as the folder says."""
    if "FlavaImageModel" not in config.architectures:
        pixels = {"mean": HALF, "std": HALF} | pixels
    return choose("models/families", "bare", image=options(config) | pixels)


def links(model: Choice) -> list[Link]:
    """Every tensor of our encoder and its name in the file."""
    chosen: Any = model
    return flava.image_links(chosen.image, "")


def ours(file: Weights) -> Weights:
    """The file's tensors without pooler and classifier, under the names that ViTModel gives them."""
    return {name.removeprefix("vit."): tensor for name, tensor in file.items() if not UNUSED.fullmatch(name)}
