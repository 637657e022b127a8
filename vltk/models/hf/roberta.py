"""transformers' RobertaModel (modeling_roberta.py, 5.23): BERT with positions that begin behind the padding id."""

from __future__ import annotations

import re
from typing import Any

import torch

from vltk.models.hf import bert, flava
from vltk.models.hf.checks import Pixels, differing, refuse
from vltk.models.weights import Link, Weights
from vltk.parts import Choice, choose

HEADED = "RobertaForMaskedLM"
CONFIGS = dict.fromkeys(("RobertaModel", HEADED), "RobertaConfig")
UNUSED = re.compile(r"(roberta\.)?pooler\.dense\.(weight|bias)")
PAD = 1
SKIPPED = PAD + 1  # rows of the table of positions that no token ever reads: create_position_ids_from_input_ids
HEAD = {"dense": "transform.dense", "layer_norm": "transform.LayerNorm", "decoder": "decoder"}
FIXED = bert.FIXED | {"type_vocab_size": 1, "pad_token_id": PAD}
POSITIONS, TYPES = "embeddings.position_embeddings.weight", "embeddings.token_type_embeddings.weight"


def options(config: Any, place: str = "config") -> dict[str, Any]:
    """The options of our encoder for a RobertaConfig, which stands at `place` of a folder's config.

    Raises VltkError naming every key that we cannot express.
    """
    refuse("this text encoder is none that vltk has", differing(place, config, FIXED))
    sizes = {"vocab": config.vocab_size, "max_length": config.max_position_embeddings - SKIPPED}
    return flava.sizes("bert", config) | sizes | {"norm": "post"}


def model(config: Any, _pixels: Pixels) -> Choice:
    """Our model for a RobertaConfig."""
    text = options(config)
    if HEADED not in config.architectures:
        return choose("models/families", "bare", text=text)
    return choose("models/families", "flava", image=None, text=text, fusion=None, head_eps=config.layer_norm_eps)


def links(model: Choice) -> list[Link]:
    """Every tensor of our model and its name in the file."""
    return bert.links(model)


def ours(file: Weights) -> Weights:
    """The file's tensors under BERT's names: positions from the first that is read, and a second type that none has."""
    found = bert.ours({_named(name): tensor for name, tensor in file.items() if not UNUSED.fullmatch(name)})
    if POSITIONS in found:
        found[POSITIONS] = found[POSITIONS][SKIPPED:]
    if TYPES in found:
        found[TYPES] = torch.cat([found[TYPES], torch.zeros_like(found[TYPES])])
    return found


def _named(name: str) -> str:
    place, _, rest = name.partition(".")
    if place != "lm_head":
        return name.removeprefix("roberta.")
    layer, dot, kind = rest.rpartition(".")
    return f"{bert.HEAD}.{HEAD[layer]}{dot}{kind}" if layer in HEAD else f"{bert.HEAD}.{rest}"
