"""Codes of images, kept beside the shards of a data set: what a frozen visual tokenizer makes of K fixed crops of each.

NAME/codes/ID/00000.npy holds those of one shard, `(samples, K, N)` in the smallest unsigned type that holds the
codebook; it counts samples as the shard does, with those of a skip list. `codes.json` says which tokenizer and which
crops (`Rule`), and lists the files; without it there are no codes. `vltk.data.code_shards` writes them.
"""

from __future__ import annotations

import hashlib
import json
import os
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from vltk.data.dataset import Dataset
from vltk.data.hashes import file_sha256
from vltk.data.image import BadSample
from vltk.data.store import Handles
from vltk.errors import VltkError
from vltk.log import warn

FOLDER, WORK, FILE = "codes", ".codes", "codes.json"
_FACTS = {"format": int, "rule": dict, "run": str, "command": str, "codes": int, "shards": list}  # of codes.json
_RULE = {"tokenizer": str, "num_codes": int, "size": int, "crop": list, "ratio": list, "flip": bool, "crops": int}
_SHARD = {"file": str, "samples": int, "bad": list, "of": str, "bytes": int, "sha256": str}
FORMAT = 1  # of the folder, of how a crop is drawn and how it is resized: codes of another one do not fit


@dataclass(frozen=True)
class Rule:
    """What decides the codes of an image: the tokenizer, and the crops that it sees."""

    tokenizer: str  # digest of its weights
    num_codes: int
    size: int  # pixels of a side of what the tokenizer sees
    crop: tuple[float, float]
    ratio: tuple[float, float]
    flip: bool
    crops: int

    @property
    def id(self) -> str:
        """The name of the folder."""
        return hashlib.sha256(json.dumps([FORMAT, asdict(self)]).encode()).hexdigest()[:12]

    @property
    def told(self) -> str:
        return f"{self.crops} crop{'s' if self.crops > 1 else ''} of {self.size} px"

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.min_scalar_type(self.num_codes - 1)


class StoredCodes:
    """Finished codes in one folder. Raises VltkError where codes.json cannot be read.

    The hash of a file is checked when it is first read from.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            self.facts = _typed(json.loads((folder / FILE).read_text(encoding="utf-8")), _FACTS)
            self.rule = _rule(_typed(self.facts["rule"], _RULE))
            self.shards = [_typed(entry, _SHARD) for entry in self.facts["shards"]]
            self._starts = [0, *accumulate(entry["samples"] for entry in self.shards)]
            self._bad = [frozenset(entry["bad"]) for entry in self.shards]
            self._span = self.facts["codes"] * self.rule.dtype.itemsize  # bytes of the codes of one crop
        except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
            raise VltkError(
                f"{folder / FILE}: no list of codes ({type(error).__name__}: {error})\n"
                f"Remove them (rm -r {folder}), and make them again: vltk data codes RECIPE"
            ) from None
        self._handles, self._checked = Handles(), set[int]()

    def misfit(self, rule: Rule, dataset: Dataset) -> str:
        """Why these codes cannot serve; empty where they can. Codes of more crops hold those of fewer."""
        mine = self.rule
        if self.facts["format"] != FORMAT:
            return "of another version of vltk"
        if not self.are_of(dataset.manifest["shards"]):
            return "of other content of the data set"
        if mine.tokenizer != rule.tokenizer:
            return f"of another tokenizer ({self.facts['run']})"
        if mine.size != rule.size:
            return f"of images of {mine.size} pixels, not {rule.size}"
        if mine.crops < rule.crops:
            return f"of {mine.crops} crops a sample, not {rule.crops}"
        before, after = ({key: asdict(one)[key] for key in ("crop", "ratio", "flip")} for one in (mine, rule))
        return ", ".join(f"of {key} {before[key]}, not {after[key]}" for key in before if before[key] != after[key])

    def are_of(self, shards: Sequence[dict[str, Any]]) -> bool:
        """Whether they were made of these shards of the data set's manifest."""
        return [entry["of"] for entry in self.shards] == [shard["sha256"] for shard in shards]

    def read(self, position: int, crop: int) -> np.ndarray:
        """`(N,)` int64: the codes of that crop of the sample at a raw position (`Dataset.raw`).

        Raises BadSample where its image could not be decoded, VltkError where a file is not as codes.json says.
        """
        shard = bisect_right(self._starts, position) - 1
        row, entry = position - self._starts[shard], self.shards[shard]
        if row in self._bad[shard]:
            raise BadSample("an image that could not be decoded when its codes were made")
        behind = (entry["samples"] - row) * self.rule.crops - crop  # crops from here to the end of the file
        try:
            handle = self._handles.get(shard, self._open)  # held, as another thread may let go of it
            data = os.pread(handle.number, self._span, entry["bytes"] - behind * self._span)
        except OSError as error:
            raise self._damaged(shard, f"cannot be read ({error})") from error
        return np.frombuffer(data, self.rule.dtype).astype(np.int64)

    def _open(self, shard: int) -> int:
        path = self.folder / self.shards[shard]["file"]
        if shard not in self._checked:
            if (what := wrong(path, self.shards[shard])) is not None:
                raise self._damaged(shard, what)
            self._checked.add(shard)
        return os.open(path, os.O_RDONLY)

    def _damaged(self, shard: int, what: str) -> VltkError:
        return VltkError(f"{self.folder / self.shards[shard]['file']}: {what}\n{self.remedy}")

    @property
    def remedy(self) -> str:
        return f"Make these codes again (files that are whole stay): {self.facts['command']}"

    def problems(self) -> Iterator[tuple[Path, str]]:
        """Every file that is not as codes.json says, and how; reads all bytes."""
        for entry in self.shards:
            path = self.folder / entry["file"]
            if (what := wrong(path, entry)) is not None:
                yield path, what
        known = {FILE, *(entry["file"] for entry in self.shards)}
        yield from ((path, "not in codes.json") for path in sorted(self.folder.iterdir()) if path.name not in known)


def wrong(path: Path, entry: dict[str, Any]) -> str | None:
    """What is wrong with the codes of a shard; None where nothing is."""
    try:
        same = file_sha256(path) == entry["sha256"]
    except FileNotFoundError:
        return "the file is gone"
    return None if same else "other bytes than codes.json says"


def stored(folder: Path) -> tuple[list[StoredCodes], list[VltkError]]:
    """All finished codes in the folder of a data set, and what is wrong with those whose list is damaged."""
    found, damaged = list[StoredCodes](), list[VltkError]()
    for path in sorted(folder.glob(f"{FOLDER}/*/{FILE}")):
        try:
            found.append(StoredCodes(path.parent))
        except VltkError as error:
            damaged.append(error)
    return found, damaged


def find(dataset: Dataset, rule: Rule) -> tuple[StoredCodes | None, str]:
    """The codes of the data set that serve; or None and why none do, empty where there are none at all.

    Those whose list is damaged are passed over with a warning.
    """
    reasons = ["not finished"] if (dataset.folder / WORK / rule.id).exists() else []
    found, damaged = stored(dataset.folder)
    for error in damaged:
        warn(str(error))
        reasons.append("damaged")
    for codes in found:
        if not (reason := codes.misfit(rule, dataset)):
            return codes, ""
        reasons.append(reason)
    return None, "; ".join(reasons)


def told(folder: Path) -> str:
    """The codes in the folder of a data set in words: `4 crops of 48 px, 1 damaged`; empty without any."""
    found, damaged = stored(folder)
    words = [codes.rule.told for codes in found]
    return ", ".join(words + ([f"{len(damaged)} damaged"] if damaged else []))


def _typed(facts: Any, kinds: Mapping[str, type]) -> dict[str, Any]:
    """A JSON object as it is. Raises KeyError or TypeError where it lacks one of these or has it of another kind."""
    for key, kind in kinds.items():
        if not isinstance(facts[key], kind):
            raise TypeError(f"{key} is {facts[key]!r}")
    return dict(facts)


def _rule(facts: dict[str, Any]) -> Rule:
    pairs = {key: (float(facts[key][0]), float(facts[key][1])) for key in ("crop", "ratio")}
    return Rule(**(facts | pairs))
