"""transformers' CLIPModel (modeling_clip.py, 5.23) and the family `clip`."""

from __future__ import annotations

import re
from typing import Any

from vltk.models.hf.checks import Pixels, differing, refuse, side
from vltk.models.weights import Link, Weights, blocks, both
from vltk.parts import Choice, choose

ARCHITECTURE, FAMILY, PROCESSOR = "CLIPModel", "clip", "CLIPImageProcessor"
CONFIGS = {ARCHITECTURE: "CLIPConfig"}
UNUSED = re.compile(r"$^")  # every tensor has its place
LEGACY_END = 2  # an eos_token_id that modeling_clip.py takes for a mistake of old configs: it reads the highest id then
ACTIVATIONS = ("gelu", "quick_gelu")
BLOCK = {
    "attention_norm": ("layer_norm1",),
    "attention.qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "attention.out": ("self_attn.out_proj",),
    "mlp_norm": ("layer_norm2",),
    "mlp.0": ("mlp.fc1",),
    "mlp.2": ("mlp.fc2",),
}
SIZES = {  # of a tower: ours, theirs
    "width": "hidden_size",
    "depth": "num_hidden_layers",
    "heads": "num_attention_heads",
    "mlp": "intermediate_size",
    "eps": "layer_norm_eps",
    "activation": "hidden_act",
}
VISION = {"patch_bias": False, "mask_token": False, "embedding_norm": True, "dropout": 0.0}


def options(config: Any) -> dict[str, Any]:
    """The options of our family for a CLIPConfig. Raises VltkError naming every key that we cannot express."""
    text = config.text_config
    image, problems = vision(config.vision_config)
    problems += _unlike("text_config", text, {})
    refuse(f"this {ARCHITECTURE} is none that vltk has", problems)
    return {
        "image": image,
        "text": _sizes("causal", text) | {"vocab": text.vocab_size, "max_length": text.max_position_embeddings},
        "embedding": config.projection_dim,
    }


def vision(config: Any) -> tuple[dict[str, Any], list[str]]:
    """The options of our image encoder for a CLIPVisionConfig, and a line a key that we cannot express."""
    problems = _unlike("vision_config", config, {"num_channels": 3})
    size = {key: side("vision_config", config, key, problems) for key in ("image_size", "patch_size")}
    return _sizes("vit", config) | VISION | {"image_size": size["image_size"], "patch": size["patch_size"]}, problems


def model(config: Any, pixels: Pixels) -> Choice:
    """Our model for a CLIPConfig, its pixels normalised as the folder says."""
    given = options(config)
    return choose("models/families", FAMILY, **(given | {"image": given["image"] | pixels}))


def config(model: Choice) -> dict[str, Any]:
    """The CLIPConfig of a model of ours, as plain data, but for the special tokens of its text."""
    chosen: Any = model
    image, text = chosen.image, chosen.text
    others = differing("model.image", image, {"part": "vit"}) + differing("model.text", text, {"part": "causal"})
    refuse(f"{ARCHITECTURE} cannot say this", others)
    problems = differing("model.image", image, VISION) + differing("model.text", text, {"dropout": 0.0})
    refuse(f"{ARCHITECTURE} cannot say this", problems)
    shared = {"projection_dim": chosen.embedding}
    return {
        "vision_config": _their_sizes(image) | shared | {"image_size": image.image_size, "patch_size": image.patch},
        "text_config": _their_sizes(text)
        | shared
        | {"vocab_size": text.vocab, "max_position_embeddings": text.max_length},
        **shared,
    }


def links(model: Choice) -> list[Link]:
    """Every tensor of our model and its name in the file."""
    chosen: Any = model
    found = [
        Link("text.words.weight", ("text_model.embeddings.token_embedding.weight",)),
        Link("text.positions.weight", ("text_model.embeddings.position_embedding.weight",)),
    ]
    found += both("text.transformer.norm", "text_model.final_layer_norm")
    found += blocks("text.transformer.blocks", "text_model.encoder.layers", chosen.text.depth, BLOCK)
    return vision_links(chosen.image) + found + joining_links()


def vision_links(image: Any) -> list[Link]:
    """Those of the image encoder."""
    kernel = (image.width, 3, image.patch, image.patch)
    found = [
        Link("image.cls", ("vision_model.embeddings.class_embedding",)),
        Link("image.patch_projection.weight", ("vision_model.embeddings.patch_embedding.weight",), kernel),
        Link("image.positions", ("vision_model.embeddings.position_embedding.weight",)),
    ]
    found += both("image.embedding_norm", "vision_model.pre_layrnorm")
    found += both("image.transformer.norm", "vision_model.post_layernorm")
    return found + blocks("image.transformer.blocks", "vision_model.encoder.layers", image.depth, BLOCK)


def joining_links() -> list[Link]:
    """Those of the embedding space."""
    return [
        Link("image_projection.weight", ("visual_projection.weight",)),
        Link("text_projection.weight", ("text_projection.weight",)),
        Link("logit_scale", ("logit_scale",)),
    ]


def ours(file: Weights) -> Weights:
    """All of the file's tensors are ours."""
    return file


def _unlike(place: str, tower: Any, wanted: dict[str, Any]) -> list[str]:
    """A line a key of a tower that we cannot express."""
    problems = differing(place, tower, {"attention_dropout": 0.0} | wanted)
    if tower.hidden_act not in ACTIVATIONS:
        problems.append(f"{place}.hidden_act: {tower.hidden_act!r} given; have: {', '.join(ACTIVATIONS)}")
    return problems


def _sizes(part: str, config: Any) -> dict[str, Any]:
    return {"part": part} | {key: getattr(config, other) for key, other in SIZES.items()}


def _their_sizes(part: Any) -> dict[str, Any]:
    return {other: getattr(part, key) for key, other in SIZES.items()}
