"""transformers' BertModel (modeling_bert.py, 5.23) and the encoder `bert` with norm: post.

BertModel is the family `bare`; with its head for masked words it is a `flava` of text alone. The head's last layer is
tied to the words there and a layer of its own here, which starts equal. Not taken: the pooler, next sentences.
"""

from __future__ import annotations

import re
from typing import Any

from vltk.models.hf import flava
from vltk.models.hf.checks import Pixels, differing, refuse
from vltk.models.weights import Link, Weights, blocks, both
from vltk.parts import Choice, choose

HEADED = ("BertForMaskedLM", "BertForPreTraining")
CONFIGS = dict.fromkeys(("BertModel", *HEADED), "BertConfig")
UNUSED = re.compile(r"(bert\.)?pooler\.dense\.(weight|bias)|cls\.seq_relationship\.(weight|bias)")
HEAD = "cls.predictions"
OLD = {"gamma": "weight", "beta": "bias"}  # of norms, in files that were written for TensorFlow first
BLOCK = {
    "attention.qkv": ("attention.self.query", "attention.self.key", "attention.self.value"),
    "attention.out": ("attention.output.dense",),
    "attention_norm": ("attention.output.LayerNorm",),
    "mlp.0": ("intermediate.dense",),
    "mlp.2": ("output.dense",),
    "mlp_norm": ("output.LayerNorm",),
}
FIXED = {"hidden_act": "gelu", "type_vocab_size": 2, "is_decoder": False, "add_cross_attention": False}


def options(config: Any, place: str = "config") -> dict[str, Any]:
    """The options of our encoder for a BertConfig, which stands at `place` of a folder's config.

    Raises VltkError naming every key that we cannot express.
    """
    refuse("this text encoder is none that vltk has", differing(place, config, FIXED))
    sizes = {"vocab": config.vocab_size, "max_length": config.max_position_embeddings}
    return flava.sizes("bert", config) | sizes | {"norm": "post"}


def model(config: Any, _pixels: Pixels) -> Choice:
    """Our model for a BertConfig."""
    text = options(config)
    if not set(config.architectures) & set(HEADED):
        return choose("models/families", "bare", text=text)
    return choose("models/families", "flava", image=None, text=text, fusion=None, head_eps=config.layer_norm_eps)


def links(model: Choice) -> list[Link]:
    """Every tensor of our model and its name in the file."""
    chosen: Any = model
    found = text_links(chosen.text, "")
    if chosen.part == "flava":
        found += both("heads.mlm.dense", f"{HEAD}.transform.dense")
        found += both("heads.mlm.norm", f"{HEAD}.transform.LayerNorm")
        found += both("heads.mlm.decoder", f"{HEAD}.decoder")
    return found


def text_links(text: Any, tower: str) -> list[Link]:
    """Those of the text encoder; `tower` stands before each of their names."""
    found = flava.embedding_links(tower)
    return found + blocks("text.transformer.blocks", f"{tower}encoder.layer", text.depth, BLOCK)


def ours(file: Weights) -> Weights:
    """The file's tensors under the names that BertModel gives them, those of tied layers under each of their names."""
    found = {_named(name): tensor for name, tensor in file.items() if not UNUSED.fullmatch(name)}
    if (bias := found.pop(f"{HEAD}.bias", None)) is not None:
        found.setdefault(f"{HEAD}.decoder.bias", bias)
    words = found.get("embeddings.word_embeddings.weight")
    if words is not None and f"{HEAD}.decoder.bias" in found:
        found.setdefault(f"{HEAD}.decoder.weight", words.clone())
    return found


def _named(name: str) -> str:
    stem, _, kind = name.removeprefix("bert.").rpartition(".")
    return f"{stem}.{OLD.get(kind, kind)}"
