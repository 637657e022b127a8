"""transformers' VisionTextDualEncoderModel (modeling_vision_text_dual_encoder.py, 5.23) and the family `dual`.

Each encoder's tensors are called as in a folder of its own, behind `vision_model.` or `text_model.`; here the poolers
are taken.
"""

from __future__ import annotations

import re
from typing import Any

from vltk.models.hf import bert, clip, flava, roberta, vit
from vltk.models.hf.checks import Pixels, differing, refuse
from vltk.models.weights import Link, Weights, both
from vltk.parts import Choice, choose

ARCHITECTURE = "VisionTextDualEncoderModel"
CONFIGS = {ARCHITECTURE: "VisionTextDualEncoderConfig"}
UNUSED = re.compile(r"$^")  # every tensor has its place
VIT, CLIP = "vit", "clip_vision_model"
TEXTS = {"bert": bert, "roberta": roberta}
IMAGE, TEXT, POOLER = "vision_model.", "text_model.", "pooler."


def model(config: Any, pixels: Pixels) -> Choice:
    """Our model for a VisionTextDualEncoderConfig, its pixels normalised as the folder says.

    Raises VltkError for encoders other than ViT's or CLIP's, BERT's or RoBERTa's, and for keys that we cannot express.
    """
    towers = {"vision_config": (VIT, CLIP), "text_config": tuple(TEXTS)}
    kinds = {place: getattr(config, place).model_type for place in towers}
    what = f"this {ARCHITECTURE} is none that vltk has"
    others = [place for place, known in towers.items() if kinds[place] not in known]
    refuse(what, [f"{one}.model_type: '{kinds[one]}' given; have: {', '.join(towers[one])}" for one in others])
    pooled = kinds["vision_config"] == VIT
    image, problems = _vit(config.vision_config) if pooled else clip.vision(config.vision_config)
    refuse(what, problems)
    return choose(
        "models/families",
        "dual",
        image=image | pixels,
        text=TEXTS[kinds["text_config"]].options(config.text_config, "text_config"),
        embedding=config.projection_dim,
        image_pooler=pooled,
    )


def links(model: Choice) -> list[Link]:
    """Every tensor of our model and its name in the file."""
    chosen: Any = model
    found = bert.text_links(chosen.text, TEXT) + both("text_pooler.dense", f"{TEXT}{POOLER}dense")
    if chosen.image_pooler:
        found += flava.image_links(chosen.image, IMAGE) + both("image_pooler.dense", f"{IMAGE}{POOLER}dense")
    else:
        found += clip.vision_links(chosen.image)
    return found + clip.joining_links()


def ours(file: Weights) -> Weights:
    """The file's tensors, those of the text encoder under BERT's names. CLIP's image tower may say its name twice."""
    text = {name.removeprefix(TEXT): tensor for name, tensor in file.items() if name.startswith(TEXT)}
    types = text.get(roberta.TYPES)
    kind = roberta if types is not None and len(types) == 1 else bert  # which has two types of tokens
    text = kind.ours(text) | {name: tensor for name, tensor in text.items() if name.startswith(POOLER)}
    found = {name.replace(IMAGE * 2, IMAGE): tensor for name, tensor in file.items() if not name.startswith(TEXT)}
    return found | {f"{TEXT}{name}": tensor for name, tensor in text.items()}


def _vit(config: Any) -> tuple[dict[str, Any], list[str]]:
    """The options of our image encoder for a ViTConfig with its pooler, and a line a key that we cannot express."""
    pooler = {"pooler_act": "tanh", "pooler_output_size": config.hidden_size}
    problems = differing("vision_config", config, pooler)
    return vit.options(config, "vision_config") | {"mean": vit.HALF, "std": vit.HALF}, problems
