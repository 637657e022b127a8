"""transformers' FlavaTextModel (modeling_flava.py, 5.23), the text encoder of FLAVA alone, and the family `bare`."""

from __future__ import annotations

import re
from typing import Any

from vltk.models.hf import flava
from vltk.models.hf.checks import Pixels, differing, refuse
from vltk.models.weights import Link, Weights
from vltk.parts import Choice, choose

CONFIGS = {"FlavaTextModel": "FlavaTextConfig"}
UNUSED = re.compile(r"pooler\.dense\.(weight|bias)")


def model(config: Any, _pixels: Pixels) -> Choice:
    """Our encoder for a FlavaTextConfig. Raises VltkError naming every key that we cannot express."""
    problems = differing("config", config, flava.FIXED | {"type_vocab_size": 2})
    refuse("this text encoder is none that vltk has", problems)
    text = flava.sizes("bert", config) | {"vocab": config.vocab_size, "max_length": config.max_position_embeddings}
    return choose("models/families", "bare", text=text)


def links(model: Choice) -> list[Link]:
    """Every tensor of our encoder and its name in the file."""
    chosen: Any = model
    return flava.text_links(chosen.text, "")


def ours(file: Weights) -> Weights:
    """The file's tensors without the pooler."""
    return {name: tensor for name, tensor in file.items() if not UNUSED.fullmatch(name)}
