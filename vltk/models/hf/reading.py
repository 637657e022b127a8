"""A Hugging Face folder read as a model of ours: what its config.json says in our words, its weights by our names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vltk.errors import VltkError
from vltk.models.hf import bert, blip, clip, dual, dvae, flava, flava_text, roberta, vit
from vltk.models.hf.folder import read_config, read_normalisation
from vltk.models.weights import Link, Weights, mismatches, read_folder, read_shapes, to_ours, to_theirs
from vltk.parts import Choice

# Each says: CONFIGS, its architectures and transformers' class of their config; model(config, pixels), the model of
# ours; links(model), its tensors there; UNUSED, names in the file that we have no place for; ours(file), the rest; and
# perhaps LACKS, by architecture with what the names of tensors of ours begin that it does not have.
FORMATS: tuple[Any, ...] = (flava, clip, vit, bert, roberta, flava_text, dvae, blip, dual)
BUFFERS = (".position_ids", ".token_type_ids")  # in old files: they only count up
SHOWN = 12  # mistakes listed one by one


@dataclass(frozen=True)
class HfModel:
    """The model of a folder. `config`: theirs, with all defaults; `format`: which module of this folder reads it."""

    folder: Path
    architecture: str
    format: Any
    config: Any
    model: Choice

    def weights(self) -> Weights:
        """Every tensor of the model, fp32, under our names; those that it lacks at random, the same ones each time.

        Raises VltkError where the file is none of this model.
        """
        given = taken(self.model, self._links(), self._file(read_folder(self.folder)), self.folder)
        if not self.lacking:
            return given
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            fresh = self.model.build().state_dict()
        return given | {name: fresh[name] for name in self.lacking}

    @cached_property
    def lacking(self) -> list[str]:
        """Tensors of ours that an architecture does not have: the pretraining heads of a FlavaModel."""
        start = getattr(self.format, "LACKS", {}).get(self.architecture)
        return [name for name in shapes(self.model) if start is not None and name.startswith(start)]

    def check(self) -> None:
        """Raises what `weights` would raise, from names and shapes alone."""
        _compare(self._links(), shapes(self.model), self._file(read_shapes(self.folder)), self.folder)

    def unused(self) -> list[str]:
        """Tensors of the file that vltk has no place for: poolers, classifiers."""
        return sorted(name for name in read_shapes(self.folder) if self.format.UNUSED.fullmatch(name))

    def _links(self) -> list[Link]:
        lacking = set(self.lacking)
        return [link for link in self.format.links(self.model) if link.ours not in lacking]

    def _file(self, file: Weights) -> Weights:
        found: Weights = self.format.ours({n: tensor for n, tensor in file.items() if not n.endswith(BUFFERS)})
        return found


def read_model(folder: Path) -> HfModel:
    """Raises VltkError where the folder holds no model that vltk has, naming the keys that it cannot express."""
    names, architecture, config = read_config(folder, FORMATS)
    return HfModel(folder, architecture, names, config, names.model(config, read_normalisation(folder)))


def taken(model: Choice, links: list[Link], file: Mapping[str, Tensor], folder: Path) -> Weights:
    """The file's tensors under our names; every one of both sides must be there and fit."""
    like = shapes(model)
    _compare(links, like, file, folder)
    return to_ours(links, file, like)


def shapes(model: Choice) -> Weights:
    """Names and shapes of a model's tensors, without their memory."""
    with torch.device("meta"):
        return dict(model.build().state_dict())


def refuse_some(problems: list[str], what: str) -> None:
    """Raises VltkError with the first of the problems, where there are any."""
    if problems:
        more = [f"... and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
        raise VltkError("\n  ".join([f"{what}:", *problems[:SHOWN], *more]))


def _compare(links: list[Link], like: Weights, file: Mapping[str, Tensor], folder: Path) -> None:
    what = f"the weights in {folder} are of another architecture than its config.json says"
    refuse_some(mismatches(to_theirs(links, like), file), what)
