"""A BERT in the place of parts that are made of one: BLIP's mixture (med.py), ALBEF's two halves (xbert.py).

As BLIP and ALBEF start: the mixture's encoder and decoder both take BERT's self-attention and share the rest of it,
ALBEF's text encoder takes the lower layers and its fusion those above. Cross-attention is new, and so are the words
[DEC] and [ENC]. Ours: the mixture, which knows no types of tokens, has BERT's first one in its positions, so that it
encodes a text exactly as BERT does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from vltk.models.encoders.med import MARKS
from vltk.models.weights import Weights
from vltk.parts import Choice, choose

NEW = re.compile(r"(.+\.)?(mask_token|cross(_norm)?\..+)")  # what no BERT has, by its name inside a part
ALWAYS_NEW = re.compile(r"(.+\.)?mask_token")  # only encoders that were trained with masked patches have one
BLOCK = re.compile(r"text\.transformer\.blocks\.(\d+)\.(attention\.|attention_norm\.)?(.+)")
OWN = {"attention.": "attention.", "attention_norm.": "norm."}  # what is not shared: names in a block, in its half
HEAD = re.compile(r"heads\.mlm\.(dense\..+|norm\..+|decoder\.bias)")  # the last layer itself is tied in ours
SIZES = ("width", "depth", "heads", "mlp", "eps", "dropout")
POSITIONS, BIAS = "text.shared.positions.weight", "heads.lm.bias"


@dataclass(frozen=True)
class Loan:
    """What another model gives to one of ours.

    model: its encoders in the words of ours; names: of its tensors, ours -> its own; weights: under our names; new:
    what may be missing inside a part.
    """

    model: Any
    names: Mapping[str, str]
    weights: Weights
    new: re.Pattern[str] = ALWAYS_NEW


def lent(ours: Choice, theirs: Choice, weights: Mapping[str, Tensor]) -> Loan:
    """All of `theirs` as it can stand in `ours`: a BERT in parts that are made of one, else as it is."""
    own: Any = getattr(ours, "text", None)
    if own is not None and _is_bert(getattr(theirs, "text", None)):
        if own.part == "med":
            return _to_mixture(own, theirs, weights)
        if getattr(getattr(ours, "fusion", None), "part", None) == "cross" and getattr(theirs, "fusion", None) is None:
            return _to_halves(own, theirs, weights)
    return Loan(theirs, {name: name for name in weights}, dict(weights))


def _is_bert(text: Any) -> bool:
    return text is not None and text.part == "bert" and text.norm == "post"


def _to_mixture(own: Any, theirs: Any, weights: Mapping[str, Tensor]) -> Loan:
    halves = [half for half in ("encoder", "decoder") if getattr(own, half)]
    names = {ours: name for name in weights for ours in _in_mixture(name, halves)}
    found = {ours: weights[name] for ours, name in names.items()}
    found[POSITIONS] = found[POSITIONS] + weights["text.types.weight"][0]
    if BIAS in found:
        found[BIAS] = F.pad(found[BIAS], (0, len(MARKS)))  # where it starts
    vocab, length = theirs.text.vocab + len(MARKS), theirs.text.max_length
    text = choose("models/encoders", "med", vocab=vocab, max_length=length, **_sizes(theirs.text))
    return Loan(SimpleNamespace(image=getattr(theirs, "image", None), text=text), names, found, NEW)


def _in_mixture(name: str, halves: list[str]) -> Iterator[str]:
    """What a tensor of BERT is called in the mixture, once or for each of its halves."""
    if block := BLOCK.fullmatch(name):
        layer, own, rest = block.groups()
        places = [f"text.{half}" for half in halves] if own else ["text.shared.blocks"]
        yield from (f"{place}.{layer}.{OWN.get(own, '')}{rest}" for place in places)
    elif head := HEAD.fullmatch(name):
        yield f"heads.lm.{head[1].removeprefix('decoder.')}"
    elif name.startswith(("text.words.", "text.positions.", "text.embedding_norm.")):
        yield name.replace("text.", "text.shared.", 1)


def _to_halves(own: Any, theirs: Any, weights: Mapping[str, Tensor]) -> Loan:
    lower = min(own.depth, theirs.text.depth)
    names = {_in_halves(name, lower): name for name in weights}
    upper = _sizes(theirs.text) | {"depth": theirs.text.depth - lower}
    fusion = choose("models/fusion", "cross", **upper) if upper["depth"] else None
    text = theirs.text.model_copy(update={"depth": lower})
    model = SimpleNamespace(image=getattr(theirs, "image", None), text=text, fusion=fusion)
    return Loan(model, names, {ours: weights[name] for ours, name in names.items()}, NEW)


def _in_halves(name: str, lower: int) -> str:
    """What a tensor of BERT is called in ALBEF, whose text encoder has the `lower` layers."""
    block = BLOCK.fullmatch(name)
    if block and int(block[1]) >= lower:
        place = "fusion.attentions" if block[2] else "fusion.blocks"
        return f"{place}.{int(block[1]) - lower}.{OWN.get(block[2], '')}{block[3]}"
    head = HEAD.fullmatch(name)
    return f"heads.mmm_text.{head[1].removeprefix('decoder.')}" if head else name


def _sizes(text: Any) -> dict[str, Any]:
    return {key: getattr(text, key) for key in SIZES}
