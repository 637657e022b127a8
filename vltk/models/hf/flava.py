"""transformers' FlavaForPreTraining (modeling_flava.py, 5.23) and the family `flava`.

Its file holds 618 tensors of the base model, 614 where the four aliases `*_head.bias` of `*_head.decoder.bias` are
left out. Not in ours: the three poolers, which no pretraining loss reads; `poolers` says what stands for them.
"""

from __future__ import annotations

import re
from typing import Any

import torch

from vltk.models.hf.checks import differing, refuse, side
from vltk.models.weights import Link, Weights, blocks, both
from vltk.parts import Choice

ARCHITECTURE, FAMILY, PROCESSOR = "FlavaForPreTraining", "flava", "FlavaImageProcessor"
POOLERS = re.compile(r"flava\.(image|text|multimodal)_model\.pooler\.dense\.(weight|bias)")
HEADS = {"mim": "mim_head", "mlm": "mlm_head", "mmm_image": "mmm_image_head", "mmm_text": "mmm_text_head"}
BLOCK = {
    "attention_norm": ("layernorm_before",),
    "attention.qkv": ("attention.attention.query", "attention.attention.key", "attention.attention.value"),
    "attention.out": ("attention.output.dense",),
    "mlp_norm": ("layernorm_after",),
    "mlp.0": ("intermediate.dense",),
    "mlp.2": ("output.dense",),
}
SIZES = {  # of a transformer: ours, theirs
    "width": "hidden_size",
    "depth": "num_hidden_layers",
    "heads": "num_attention_heads",
    "mlp": "intermediate_size",
    "eps": "layer_norm_eps",
    "dropout": "hidden_dropout_prob",
}
FIXED = {"hidden_act": "gelu", "qkv_bias": True, "attention_probs_dropout_prob": 0.0}


def options(config: Any) -> dict[str, Any]:
    """The options of our family for a FlavaConfig. Raises VltkError naming every key that we cannot express."""
    image, text, fusion = config.image_config, config.text_config, config.multimodal_config
    problems = differing("image_config", image, FIXED | {"num_channels": 3})
    problems += differing("text_config", text, FIXED | {"type_vocab_size": 2, "layer_norm_eps": image.layer_norm_eps})
    problems += differing("multimodal_config", fusion, FIXED | {"use_cls_token": True})
    problems += differing("config", config, {"hidden_size": fusion.hidden_size})
    for place, other in (("image_config", image), ("text_config", text)):
        problems += differing(place, other, {"hidden_size": fusion.hidden_size})
    size = {key: side("image_config", image, key, problems) for key in ("image_size", "patch_size")}
    refuse(f"this {ARCHITECTURE} is none that vltk has", problems)
    return {
        "image": _sizes("vit", image)
        | {"image_size": size["image_size"], "patch": size["patch_size"], "mask_token": image.mask_token},
        "text": _sizes("bert", text) | {"vocab": text.vocab_size, "max_length": text.max_position_embeddings},
        "fusion": _sizes("joint", fusion),
        "codes": image.vocab_size,
        "embedding": config.projection_dim,
        "head_eps": image.layer_norm_eps,
    }


def config(model: Choice) -> dict[str, Any]:
    """The FlavaConfig of a model of ours, as plain data. Raises VltkError naming every option it cannot express."""
    chosen: Any = model
    image, text, fusion = chosen.image, chosen.text, chosen.fusion
    lacking = [key for key in ("image", "text", "fusion") if getattr(chosen, key) is None]
    refuse(f"{ARCHITECTURE} has three encoders", [f"model.{key}: null given" for key in lacking])
    parts = {"image": (image, "vit"), "text": (text, "bert"), "fusion": (fusion, "joint")}
    others = [line for key, (part, name) in parts.items() for line in differing(f"model.{key}", part, {"part": name})]
    refuse(f"{ARCHITECTURE} cannot say this", others)
    fixed = {"patch_bias": True, "embedding_norm": False, "activation": "gelu", "eps": chosen.head_eps}
    problems = differing("model.image", image, fixed | {"width": fusion.width})
    problems += differing("model.text", text, {"eps": chosen.head_eps, "width": fusion.width})
    refuse(f"{ARCHITECTURE} cannot say this", problems)
    return {
        "image_config": _their_sizes(image)
        | {"image_size": image.image_size, "patch_size": image.patch, "mask_token": image.mask_token}
        | {"vocab_size": chosen.codes},
        "text_config": _their_sizes(text) | {"vocab_size": text.vocab, "max_position_embeddings": text.max_length},
        "multimodal_config": _their_sizes(fusion),
        "hidden_size": fusion.width,
        "layer_norm_eps": fusion.eps,
        "projection_dim": chosen.embedding,
        "init_codebook": False,
    }


def links(model: Choice) -> list[Link]:
    """Every tensor of our model and its name in the file."""
    chosen: Any = model
    image, width = chosen.image, (1, 1, chosen.fusion.width)
    patches = (image.image_size // image.patch) ** 2
    embeddings = "flava.image_model.embeddings"
    kernel = (image.width, 3, image.patch, image.patch)
    found = [
        Link("image.cls", (f"{embeddings}.cls_token",), width),
        Link("image.positions", (f"{embeddings}.position_embeddings",), (1, 1 + patches, image.width)),
        Link("image.patch_projection.weight", (f"{embeddings}.patch_embeddings.projection.weight",), kernel),
        Link("image.patch_projection.bias", (f"{embeddings}.patch_embeddings.projection.bias",)),
        Link("fusion.cls", ("flava.multimodal_model.cls_token",), width),
        Link("logit_scale", ("flava.logit_scale",)),
    ]
    if image.mask_token:
        found.append(Link("image.mask_token", (f"{embeddings}.mask_token",), width))
    for name, other in (("words", "word"), ("positions", "position"), ("types", "token_type")):
        found.append(Link(f"text.{name}.weight", (f"flava.text_model.embeddings.{other}_embeddings.weight",)))
    found += both("text.embedding_norm", "flava.text_model.embeddings.LayerNorm")
    for name, other in (("image", "image"), ("text", "text"), ("fusion", "multimodal")):
        tower = f"flava.{other}_model"
        found += blocks(f"{name}.transformer.blocks", f"{tower}.encoder.layer", getattr(chosen, name).depth, BLOCK)
        found += both(f"{name}.transformer.norm", f"{tower}.layernorm")
    for name in ("image", "text"):
        found += both(f"{name}_projection", f"flava.{name}_projection")
        found += both(f"fusion.{name}_projection", f"flava.{name}_to_mm_projection")
    return found + _head_links()


def poolers(model: Choice) -> Weights:
    """The three poolers of the file, which vltk does not train: identities, so that they give tanh(CLS)."""
    chosen: Any = model
    towers = {"image": chosen.image, "text": chosen.text, "multimodal": chosen.fusion}
    found: Weights = {}
    for name, tower in towers.items():
        found[f"flava.{name}_model.pooler.dense.weight"] = torch.eye(tower.width)
        found[f"flava.{name}_model.pooler.dense.bias"] = torch.zeros(tower.width)
    return found


def ours(file: Weights) -> Weights:
    """The file's tensors without poolers, and each head's bias under `decoder.bias` alone, whichever name it has."""
    found = {name: tensor for name, tensor in file.items() if not POOLERS.fullmatch(name)}
    for head in HEADS.values():
        bias = found.pop(f"{head}.bias", None)
        if bias is not None:
            found.setdefault(f"{head}.decoder.bias", bias)
    return found


def config_class() -> Any:
    """The class of its config.json."""
    from transformers import FlavaConfig

    return FlavaConfig


def _head_links() -> list[Link]:
    found = both("heads.itm.dense", "itm_head.pooler.dense")
    found += both("heads.itm.classifier", "itm_head.seq_relationship")
    for name, other in HEADS.items():
        found += both(f"heads.{name}.dense", f"{other}.transform.dense")
        found += both(f"heads.{name}.norm", f"{other}.transform.LayerNorm")
        found += both(f"heads.{name}.decoder", f"{other}.decoder")
    return found


def _sizes(part: str, config: Any) -> dict[str, Any]:
    return {"part": part} | {key: getattr(config, other) for key, other in SIZES.items()}


def _their_sizes(part: Any) -> dict[str, Any]:
    return {other: getattr(part, key) for key, other in SIZES.items()}
