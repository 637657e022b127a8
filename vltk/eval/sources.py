"""What a task reads: a sharded data set by its name, or a split of an official one as `official/NAME/SPLIT`.

Protocols do not know which. Options of an official data set's loader stand behind: `official/stl10/test?fold=3`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import yaml
from numpy.typing import NDArray

from vltk import parts
from vltk.data import dataset
from vltk.errors import Missing, RecipeError, VltkError
from vltk.eval.content import digest
from vltk.eval.datasets import _places
from vltk.eval.datasets._card import card_names
from vltk.eval.datasets._contract import Labels, Split
from vltk.eval.datasets._rows import Rows
from vltk.strict import suggest

OFFICIAL, LOADERS = "official/", "eval/datasets"
GLUE = "glue"  # the loader of all data sets that have none of their own
CLASS = "class"  # the label of official samples
WHOLE = "trainval"  # which `train` and `validation` are parts of
Pixels = NDArray[np.uint8]
Label = str | int | float
Steps = list[tuple[str, str]]


@dataclass(frozen=True)
class Sample:
    """`image`: encoded bytes, or pixels (H, W, 3) uint8. `ids`: of a data set of tokens, in the place of texts."""

    key: str
    image: bytes | Pixels | None = None
    texts: Sequence[str] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    ids: NDArray[np.integer[Any]] | None = None


class Source(Protocol):
    """Samples in a fixed order. Safe to read from many threads."""

    name: str

    @property
    def split(self) -> str: ...

    @property
    def strata(self) -> Labels | None:
        """(N,) by which a part is drawn evenly; None where that takes reading every sample."""

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What these samples are, for results and for what is kept of them."""

    def __len__(self) -> int: ...

    def key(self, position: int) -> str: ...

    def read(self, position: int) -> Sample: ...

    def read_texts(self, position: int) -> Sample:
        """The same, without its image where that saves time."""

    def label(self, position: int, name: str) -> Label:
        """Raises VltkError, with the sample and what it has, where it has no such label."""


class Library:
    """Where data sets are found: sharded ones in the data root, official ones in `data` (None: in the data root too).

    `nonstandard` lets counts pass that are not the official ones.
    """

    def __init__(self, data: Path | None = None, nonstandard: bool = False) -> None:
        self.data, self.nonstandard = data, nonstandard
        self._loaders: dict[str, tuple[Any, Any]] = {}

    def open(self, name: str) -> Source:
        """Raises Missing where it is absent, with what to type; RecipeError for a name or an option that is wrong."""
        if not name.startswith(OFFICIAL):
            return Sharded(name)
        reference = _Reference.read(name)
        return OfficialSplit(reference, *self._loader(reference), self.nonstandard)

    def absent(self, name: str) -> Steps:
        """What to bring, and what to type, where the data is not there; reads no samples, and the lists of a split only
        where some of its data set is not there: it may be that another split lacks it."""
        try:
            if name.startswith(OFFICIAL):
                reference = _Reference.read(name)
                _, loader = self._loader(reference)
                if _places.survey(reference.name, self.data).state == "partial":
                    loader.split(reference.split)
            else:
                dataset.open_dataset(name)
        except Missing as error:
            return error.steps
        return []

    def forget(self) -> None:
        """Lets go of what loaders keep in memory."""
        self._loaders.clear()

    def _loader(self, reference: _Reference) -> tuple[Any, Any]:
        """The files of a data set and the loader over them, one for all its splits; Missing where some are absent."""
        key = digest({"name": reference.name, "options": reference.options})
        if key not in self._loaders:
            files = _places.find(reference.name, self.data)
            known = reference.name in parts.names(LOADERS)
            part, own = (reference.name, {}) if known else (GLUE, {"task": reference.name})
            options = {**own, **reference.options, "nonstandard": self.nonstandard}
            self._loaders[key] = files, parts.choose(LOADERS, part, **options).build(files=files)
        files, loader = self._loaders[key]
        if reference.split not in loader.splits:
            told = suggest(reference.split, loader.splits)
            raise RecipeError(f"{reference.text}: no split '{reference.split}'{told}")
        return files, loader


class Sharded:
    """A data set that `vltk.data.shard` has written, or one of tokens."""

    strata = None

    def __init__(self, name: str) -> None:
        self.name, self.dataset = name, dataset.open_dataset(name)
        self.split = name.rpartition("/")[2]

    @property
    def fingerprint(self) -> dict[str, Any]:
        return {"data": self.name, "digest": self.dataset.digest, "samples": len(self)}

    def __len__(self) -> int:
        return len(self.dataset)

    def read(self, position: int) -> Sample:
        sample = self.dataset.read(position)
        texts = () if sample.ids is not None else sample.texts  # of tokens they would have to be decoded
        return Sample(sample.key, sample.image, texts, sample.meta, sample.ids)

    def read_texts(self, position: int) -> Sample:
        return self.read(position)

    def key(self, position: int) -> str:
        return self.dataset.read(position).key

    def label(self, position: int, name: str) -> Label:
        sample = self.dataset.read(position)
        value = sample.meta.get(name)
        if not isinstance(value, str | int | float):
            have = ", ".join(sorted(sample.meta)) or "none"
            raise VltkError(f"{self.name}: sample {sample.key!r} has no label {name!r}; its fields: {have}")
        return str(value)


class OfficialSplit:
    """A split of an official data set. Its label is `class`, the number that the loader gives."""

    def __init__(self, reference: _Reference, files: Any, loader: Any, nonstandard: bool) -> None:
        self.name, self.split, self.loader, self.nonstandard = reference.text, reference.split, loader, nonstandard
        self._files = files
        self.samples: Split = loader.split(reference.split)

    @property
    def classes(self) -> Sequence[str]:
        """Names by class number."""
        names: Sequence[str] = self.loader.classes
        return names

    @property
    def strata(self) -> Labels | None:
        labels = self.samples.labels
        return None if labels is None or labels.dtype == np.float64 else labels

    @cached_property
    def fingerprint(self) -> dict[str, Any]:
        """The samples by their keys, and the files that they are read from by paths and sizes."""
        labels = self.samples.labels
        return {
            "data": self.name,
            "samples": len(self),
            "keys_sha256": self.samples.sha256,
            "labels": None if labels is None else digest({"labels": labels.tolist()}),
            "files": self._files.fingerprint,
            "rule": self.samples.rule,
            "official": self.is_official,
        }

    @property
    def is_official(self) -> bool:
        """Whether the counts are the official ones, as far as they are known; always so unless others may pass."""
        counts = self.loader.counts
        found = {"classes": len(self.classes), self.split: len(self)}
        if self.nonstandard and self.split not in counts and WHOLE in counts:
            found[WHOLE] = len(self.loader.split(WHOLE))
        return all(found[name] == counts[name] for name in found if name in counts)

    def __len__(self) -> int:
        return len(self.samples)

    def read(self, position: int) -> Sample:
        item = self.samples.read(position)
        facts = item.facts if item.label is None else {**item.facts, CLASS: item.label}
        return Sample(item.key, item.image, item.texts, facts)

    def read_texts(self, position: int) -> Sample:
        if not isinstance(self.samples, Rows):
            return self.read(position)
        row = self.samples.rows[position]
        return Sample(row.key, None, row.texts, row.facts)

    def key(self, position: int) -> str:
        return self.samples.keys[position]

    def label(self, position: int, name: str) -> Label:
        if name != CLASS or self.samples.labels is None:
            have = "none" if self.samples.labels is None else CLASS
            raise VltkError(f"{self.name}: no label {name!r}; have: {have}")
        value: int | float = self.samples.labels[position].item()
        return value


@dataclass(frozen=True)
class _Reference:
    """`official/NAME/SPLIT?option=value&option=value`."""

    text: str
    name: str
    split: str
    options: dict[str, Any]

    @classmethod
    def read(cls, text: str) -> _Reference:
        path, _, options = text.removeprefix(OFFICIAL).partition("?")
        name, slash, split = path.partition("/")
        if name not in card_names():
            raise RecipeError(f"{text}: no official data set '{name}'{suggest(name, card_names())}")
        if not slash or not split or "/" in split:
            raise RecipeError(f"{text}: write it as {OFFICIAL}{name}/SPLIT, with options behind as ?key=value")
        said = dict(option.partition("=")[::2] for option in options.split("&") if option)
        return cls(text, name, split, {key: yaml.safe_load(value) for key, value in said.items()})
