"""transformers' BLIP for captions and for retrieval (modeling_blip.py, modeling_blip_text.py, 5.23), the family `blip`.

The two hold one half each of what BLIP pretrains: BlipForConditionalGeneration the decoder and its head, whose last
layer is tied to the words; BlipForImageTextRetrieval the encoder, both projections and the matching head. Neither file
has the temperature, which starts again at 0.07.
"""

from __future__ import annotations

import re
from typing import Any

import torch

from vltk.models.hf.checks import Pixels, differing, refuse, side
from vltk.models.weights import Link, Weights, blocks, both
from vltk.parts import Choice, choose

CAPTIONS, RETRIEVAL = "BlipForConditionalGeneration", "BlipForImageTextRetrieval"
FAMILY = "blip"
CONFIGS = dict.fromkeys((CAPTIONS, RETRIEVAL), "BlipConfig")
UNUSED = re.compile(r"$^")  # every tensor has its place
TEMPERATURE = 0.07  # blip_retrieval.py
PROMPT = "a picture of"  # blip.py, caption_coco.yaml: what the published captioner was trained with
IMAGE_BLOCK = {
    "attention_norm": ("layer_norm1",),
    "attention.qkv": ("self_attn.qkv",),
    "attention.out": ("self_attn.projection",),
    "mlp_norm": ("layer_norm2",),
    "mlp.0": ("mlp.fc1",),
    "mlp.2": ("mlp.fc2",),
}
OWN_HALF = {
    "attention.qkv": ("attention.self.query", "attention.self.key", "attention.self.value"),
    "attention.out": ("attention.output.dense",),
    "norm": ("attention.output.LayerNorm",),
}
SHARED_HALF = {
    "cross.query": ("crossattention.self.query",),
    "cross.key_value": ("crossattention.self.key", "crossattention.self.value"),
    "cross.out": ("crossattention.output.dense",),
    "cross_norm": ("crossattention.output.LayerNorm",),
    "mlp.0": ("intermediate.dense",),
    "mlp.2": ("output.dense",),
    "mlp_norm": ("output.LayerNorm",),
}
SIZES = {  # of a tower: ours, theirs
    "width": "hidden_size",
    "depth": "num_hidden_layers",
    "heads": "num_attention_heads",
    "mlp": "intermediate_size",
    "eps": "layer_norm_eps",
}
HEAD, TIED = "text_decoder.cls.predictions", "text_decoder.bert.embeddings.word_embeddings.weight"


def model(config: Any, pixels: Pixels) -> Choice:
    """Our model for a BlipConfig. Raises VltkError naming every key that we cannot express."""
    image, text = config.vision_config, config.text_config
    problems = differing("vision_config", image, {"hidden_act": "gelu"})
    problems += differing("text_config", text, {"hidden_act": "gelu", "is_decoder": True})
    captions = CAPTIONS in config.architectures
    if captions:
        problems += differing("text_config", text, {"bos_token_id": text.vocab_size - 2})  # [DEC]
    size = {key: side("vision_config", image, key, problems) for key in ("image_size", "patch_size")}
    refuse("this BLIP is none that vltk has", problems)
    vit = _sizes("vit", image) | {"image_size": size["image_size"], "patch": size["patch_size"], "mask_token": False}
    med = _sizes("med", text) | {"vocab": text.vocab_size, "max_length": text.max_position_embeddings}
    med |= {"dropout": float(text.hidden_dropout_prob), "encoder": not captions, "decoder": captions}
    given = {"image": vit | pixels, "text": med, "embedding": config.image_text_hidden_size}
    return choose("models/families", FAMILY, **given, temperature=TEMPERATURE, prompt=PROMPT if captions else "")


def links(model: Choice) -> list[Link]:
    """Every tensor of our model and its name in the file."""
    chosen: Any = model
    captions = bool(chosen.text.decoder)
    own, tower = ("decoder", "text_decoder.bert") if captions else ("encoder", "text_encoder")
    embeddings, depth = f"{tower}.embeddings", chosen.text.depth
    found = _image_links(chosen.image)
    found += [
        Link("text.shared.words.weight", (f"{embeddings}.word_embeddings.weight",)),
        Link("text.shared.positions.weight", (f"{embeddings}.position_embeddings.weight",)),
        *both("text.shared.embedding_norm", f"{embeddings}.LayerNorm"),
        *blocks(f"text.{own}", f"{tower}.encoder.layer", depth, OWN_HALF),
        *blocks("text.shared.blocks", f"{tower}.encoder.layer", depth, SHARED_HALF),
    ]
    if captions:
        found += both("heads.lm.dense", f"{HEAD}.transform.dense") + both(
            "heads.lm.norm", f"{HEAD}.transform.LayerNorm"
        )
        return [*found, Link("heads.lm.bias", (f"{HEAD}.bias",))]
    found += both("heads.contrast.image", "vision_proj") + both("heads.contrast.text", "text_proj")
    return [*found, *both("heads.itm", "itm_head"), Link("heads.contrast.temperature", ("temperature",))]


def ours(file: Weights) -> Weights:
    """The file's tensors, those of tied layers under one of their names, and the temperature that it lacks."""
    found = dict(file)
    if f"{HEAD}.transform.dense.weight" not in found:
        return found | {"temperature": torch.tensor(TEMPERATURE)}
    words, bias = found.pop(f"{HEAD}.decoder.weight", None), found.pop(f"{HEAD}.decoder.bias", None)
    if words is not None:
        found.setdefault(TIED, words)
    if bias is not None:
        found.setdefault(f"{HEAD}.bias", bias)
    return found


def _image_links(image: Any) -> list[Link]:
    embeddings, patches = "vision_model.embeddings", (image.image_size // image.patch) ** 2
    kernel = (image.width, 3, image.patch, image.patch)
    return [
        Link("image.cls", (f"{embeddings}.class_embedding",), (1, 1, image.width)),
        Link("image.positions", (f"{embeddings}.position_embedding",), (1, 1 + patches, image.width)),
        Link("image.patch_projection.weight", (f"{embeddings}.patch_embedding.weight",), kernel),
        Link("image.patch_projection.bias", (f"{embeddings}.patch_embedding.bias",)),
        *both("image.transformer.norm", "vision_model.post_layernorm"),
        *blocks("image.transformer.blocks", "vision_model.encoder.layers", image.depth, IMAGE_BLOCK),
    ]


def _sizes(part: str, config: Any) -> dict[str, Any]:
    return {"part": part} | {key: getattr(config, other) for key, other in SIZES.items()}
