"""What a model starts from: parts of it taken from other runs or Hugging Face folders, the rest left at random.

Position tables of another length are made to fit, and a mask token may be missing; a BERT may stand in parts that are
made of one (models/from_bert.py). Everything else has to fit exactly.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from vltk.errors import VltkError
from vltk.log import say, warn
from vltk.models.from_bert import ALWAYS_NEW, lent
from vltk.models.positions import grid_of, of_length, resized
from vltk.models.weights import Weights, mismatches
from vltk.parts import Choice
from vltk.recipe import Stage
from vltk.run import Source, load_stage, part_of, read_weights, untrained
from vltk.whole import whole

FILE = "init.json"
SAME = (  # options of an encoder that give its tensors their shapes, and those that give them their meaning alone
    *("width", "depth", "mlp", "patch", "vocab", "patch_bias", "embedding_norm"),
    *("heads", "norm", "activation", "mean", "std"),
)
SHOWN = 12  # tensors that do not fit


@dataclass(frozen=True)
class Fit:
    """What a part takes from other weights, tensor by tensor; `resized` and `problems` in words.

    untrained: those taken that nothing has trained there either.
    """

    taken: Weights
    resized: dict[str, str] = field(default_factory=dict)
    random: list[str] = field(default_factory=list)
    untrained: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def said(self) -> str:
        """`148 tensors, 1 resized (positions 14x14 -> 7x7), 1 at random: mask_token`."""
        words = [f"{len(self.taken)} tensors"]
        if self.resized:
            words.append(f"{len(self.resized)} resized ({', '.join(self.resized.values())})")
        if self.random:
            words.append(f"{len(self.random)} at random: {_every_layer(self.random)}")
        if self.untrained:
            words.append(f"{len(self.untrained)} of them never trained there: {_every_layer(self.untrained)}")
        if self.unused:
            words.append(f"{len(self.unused)} left out: {', '.join(self.unused)}")
        return ", ".join(words)


def start(model: nn.Module, stage: Stage, sources: Mapping[str, Source]) -> dict[str, Any]:
    """Copies the parts that `init` names into the model, says what was taken, and gives the list of all tensors.

    Raises VltkError where a part does not fit its source.
    """
    parts = {}
    for part, value in stage.init.items():
        source = sources[value]
        weights, step = read_weights(source)
        loan = lent(stage.model, load_stage(source).model, weights)
        there, module = loan.model, model.get_submodule(part)
        found = fit(module, part_of(loan.weights, part), loan.new)
        never = {*untrained(source)}
        found.untrained.extend(sorted(name for name in found.taken if loan.names[f"{part}.{name}"] in never))
        if problems := [*unlike(stage.model, there, part)] or found.problems:
            lines = "\n  ".join(problems[:SHOWN])
            raise VltkError(f"init.{part}: the weights of {source.path} do not fit:\n  {lines}")
        for line in nearly(stage.model, there, part):
            warn(f"{part}: {line}")
        module.load_state_dict(found.taken, strict=False)
        say(f"{part}: from {source.path}: {found.said()}")
        lists = {"resized": found.resized, "random": found.random, "unused": found.unused}
        lists["untrained"] = found.untrained
        parts[part] = {"source": str(source.path), "step": step, "taken": sorted(found.taken)} | lists
    rest = [name for name in model.state_dict() if not any(name.startswith(f"{part}.") for part in parts)]
    if parts and rest:
        say(f"at random: {', '.join(f'{place} ({count})' for place, count in _places(rest).items())}")
    return {"parts": parts, "random": rest}


def untaught(model: nn.Module, reached: Collection[str], found: Mapping[str, Any]) -> list[str]:
    """The parameters that have been trained neither by this stage, which reaches `reached`, nor where they come from.

    found: what `start` gave.
    """
    taken = {f"{part}.{name}" for part, own in found["parts"].items() for name in {*own["taken"]} - {*own["untrained"]}}
    return [name for name, _ in model.named_parameters() if name not in taken and name not in reached]


def note(found: Mapping[str, Any], folder: Path) -> None:
    """The list of all tensors into init.json of a run, where it started from anything."""
    if found["parts"]:
        with whole(folder / FILE) as part:
            part.write_text(json.dumps(found, indent=1) + "\n")


def fit(module: nn.Module, given: Mapping[str, Tensor], new: re.Pattern[str] = ALWAYS_NEW) -> Fit:
    """How `given` fits the tensors of `module`, of which those named as `new` may be missing; tensors without memory
    will do."""
    if not given:
        return Fit({}, problems=["none of them is of this part"])
    wanted = module.state_dict()
    optional = {name for name in {*wanted, *given} if new.fullmatch(name)}
    found = Fit({name: tensor for name, tensor in given.items() if name in wanted})
    found.random.extend(sorted(optional & (set(wanted) - set(given))))
    found.unused.extend(sorted(optional & (set(given) - set(wanted))))
    for name, table in found.taken.items():
        if table.shape != wanted[name].shape and (moved := _moved(name, table, wanted[name])):
            found.taken[name], found.resized[name] = moved
    left = {name: tensor for name, tensor in wanted.items() if name not in found.random}
    surplus = {name: given[name] for name in given if name not in wanted and name not in found.unused}
    found.problems.extend(mismatches(left, found.taken | surplus))
    return found


def unlike(ours: Choice, theirs: Choice, part: str) -> Iterator[str]:
    """Why the weights of a part do not fit our model or would mean something else in it: the options to change."""
    here, there, name = *_encoders(ours, theirs, part), part.partition(".")[0]
    if here is None or there is None:
        return
    if here.part != there.part:
        remedy = ", norm: pre; of one with norm: post they fit" if (here.part, there.part) == ("med", "bert") else ""
        yield f"model.{name}.part: {here.part} given, the weights are those of {there.part}{remedy}"
        return
    for key in SAME:
        if getattr(here, key, None) != getattr(there, key, None):
            own, said = _said(getattr(here, key)), _said(getattr(there, key))
            yield f"model.{name}.{key}: {own} given, the weights have {said}; set model.{name}.{key}={said}"


def nearly(ours: Choice, theirs: Choice, part: str) -> Iterator[str]:
    """What is another number there without changing what the weights mean."""
    here, there = _encoders(ours, theirs, part)
    if here is not None and there is not None and hasattr(here, "eps") and here.eps != there.eps:
        yield f"its norms add {here.eps:g}, those that the weights were trained with {there.eps:g} (eps)"


def _encoders(ours: Choice, theirs: Choice, part: str) -> tuple[Any, Any]:
    """What the recipes say of the encoder that a part is or lies in; None where it is none."""
    found = (getattr(model, part.partition(".")[0], None) for model in (ours, theirs))
    here, there = (encoder if isinstance(encoder, Choice) else None for encoder in found)
    return here, there


def _moved(name: str, table: Tensor, own: Tensor) -> tuple[Tensor, str] | None:
    """A table of positions or of words in the size of ours, and how it was made so; None where it is none."""
    if table.dim() != 2 or own.dim() != 2 or table.shape[1] != own.shape[1]:
        return None
    if name.endswith("shared.words.weight") and len(own) > len(table):  # [DEC] and [ENC] behind the words of a BERT
        return of_length(table, own), f"words {len(table)} -> {len(own)}, {len(own) - len(table)} of them at random"
    if name.endswith("positions.weight"):
        rest = f", {len(own) - len(table)} of them at random" if len(own) > len(table) else ""
        return of_length(table, own), f"positions {len(table)} -> {len(own)}{rest}"
    before, after = grid_of(table), grid_of(own)
    if not name.endswith("positions") or not before[0] or not after[0]:
        return None
    return resized(table, before, after), f"positions {before[0]}x{before[1]} -> {after[0]}x{after[1]}"


def _every_layer(names: list[str]) -> str:
    """The names, those that differ in the number of a layer once."""
    return ", ".join(dict.fromkeys(re.sub(r"(?<=\.)\d+(?=\.)", "*", name) for name in names))


def _places(names: list[str]) -> Counter[str]:
    """How many tensors lie in each part of a model, head by head."""
    return Counter(".".join(name.split(".")[: 2 if name.startswith("heads.") else 1]) for name in names)


def _said(value: Any) -> str:
    """A value as the command line takes it."""
    return f"[{','.join(f'{one:g}' for one in value)}]" if isinstance(value, tuple) else str(value).lower()
