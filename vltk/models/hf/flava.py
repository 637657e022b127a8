"""transformers' FlavaForPreTraining and FlavaModel (modeling_flava.py, 5.23) and the family `flava`.

FlavaModel is the same without the pretraining heads, its names without `flava.` in front. The file of the first holds
618 tensors of the base model, 614 where the four aliases `*_head.bias` of `*_head.decoder.bias` are left out. Not in
ours: the three poolers, which no pretraining loss reads; `poolers` says what stands for them.
"""

from __future__ import annotations

import re
from typing import Any

import torch

from vltk.models.hf import dvae
from vltk.models.hf.checks import Pixels, differing, refuse, side
from vltk.models.weights import Link, Weights, blocks, both
from vltk.parts import Choice, choose

ARCHITECTURE, FAMILY, PROCESSOR = "FlavaForPreTraining", "flava", "FlavaImageProcessor"
CONFIGS = {ARCHITECTURE: "FlavaConfig", "FlavaModel": "FlavaConfig"}
LACKS = {"FlavaModel": "heads."}  # our tensors that an architecture does not have
UNUSED = re.compile(r"flava\.(image|text|multimodal)_model\.pooler\.dense\.(weight|bias)")
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
        "image": sizes("vit", image)
        | {"image_size": size["image_size"], "patch": size["patch_size"], "mask_token": image.mask_token},
        "text": sizes("bert", text) | {"vocab": text.vocab_size, "max_length": text.max_position_embeddings},
        "fusion": sizes("joint", fusion),
        "codes": image.vocab_size,
        "embedding": config.projection_dim,
        "head_eps": image.layer_norm_eps,
    }


def model(config: Any, pixels: Pixels) -> Choice:
    """Our model for a FlavaConfig, its pixels normalised as the folder says."""
    given = options(config)
    return choose("models/families", FAMILY, **(given | {"image": given["image"] | pixels}))


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
    problems += differing("model.text", text, {"norm": "pre", "eps": chosen.head_eps, "width": fusion.width})
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
    found = [
        Link("fusion.cls", ("flava.multimodal_model.cls_token",), (1, 1, chosen.fusion.width)),
        Link("logit_scale", ("flava.logit_scale",)),
    ]
    found += image_links(chosen.image, "flava.image_model.")
    found += text_links(chosen.text, "flava.text_model.")
    found += transformer_links("fusion", chosen.fusion, "flava.multimodal_model.")
    for name in ("image", "text"):
        found += both(f"{name}_projection", f"flava.{name}_projection")
        found += both(f"fusion.{name}_projection", f"flava.{name}_to_mm_projection")
    return found + _head_links()


def image_links(image: Any, tower: str) -> list[Link]:
    """Those of the image encoder; `tower` stands before each of their names. ViT's are the same."""
    patches = (image.image_size // image.patch) ** 2
    embeddings, width = f"{tower}embeddings", (1, 1, image.width)
    kernel = (image.width, 3, image.patch, image.patch)
    found = [
        Link("image.cls", (f"{embeddings}.cls_token",), width),
        Link("image.positions", (f"{embeddings}.position_embeddings",), (1, 1 + patches, image.width)),
        Link("image.patch_projection.weight", (f"{embeddings}.patch_embeddings.projection.weight",), kernel),
        Link("image.patch_projection.bias", (f"{embeddings}.patch_embeddings.projection.bias",)),
    ]
    if image.mask_token:
        found.append(Link("image.mask_token", (f"{embeddings}.mask_token",), width))
    return found + transformer_links("image", image, tower)


def text_links(text: Any, tower: str) -> list[Link]:
    """Those of the text encoder."""
    return embedding_links(tower) + transformer_links("text", text, tower)


def embedding_links(tower: str) -> list[Link]:
    """Those of the words, positions and types in front of a text encoder; BERT's are the same."""
    tables = (("words", "word"), ("positions", "position"), ("types", "token_type"))
    found = [Link(f"text.{name}.weight", (f"{tower}embeddings.{other}_embeddings.weight",)) for name, other in tables]
    return found + both("text.embedding_norm", f"{tower}embeddings.LayerNorm")


def transformer_links(name: str, encoder: Any, tower: str) -> list[Link]:
    """Those of a stack of pre-LN blocks and its final norm."""
    found = blocks(f"{name}.transformer.blocks", f"{tower}encoder.layer", encoder.depth, BLOCK)
    return found + both(f"{name}.transformer.norm", f"{tower}layernorm")


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
    """The file's tensors without poolers and codebook, each head's bias under `decoder.bias` alone."""
    if not any(name.startswith("flava.") for name in file):
        file = {name if name.startswith(dvae.PREFIX) else f"flava.{name}": tensor for name, tensor in file.items()}
    kept = (name for name in file if not UNUSED.fullmatch(name) and not name.startswith(dvae.PREFIX))
    found = {name: file[name] for name in kept}
    for head in HEADS.values():
        bias = found.pop(f"{head}.bias", None)
        if bias is not None:
            found.setdefault(f"{head}.decoder.bias", bias)
    return found


def _head_links() -> list[Link]:
    found = both("heads.itm.dense", "itm_head.pooler.dense")
    found += both("heads.itm.classifier", "itm_head.seq_relationship")
    for name, other in HEADS.items():
        found += both(f"heads.{name}.dense", f"{other}.transform.dense")
        found += both(f"heads.{name}.norm", f"{other}.transform.LayerNorm")
        found += both(f"heads.{name}.decoder", f"{other}.decoder")
    return found


def sizes(part: str, config: Any) -> dict[str, Any]:
    """The options of an encoder that every transformer's config says."""
    return {"part": part} | {key: getattr(config, other) for key, other in SIZES.items()}


def _their_sizes(part: Any) -> dict[str, Any]:
    return {other: getattr(part, key) for key, other in SIZES.items()}
