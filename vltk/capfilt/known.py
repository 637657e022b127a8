"""What a run of a job knows of the data that it is to judge or to describe: images that it was trained on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vltk.capfilt.models import Model
from vltk.capfilt.overlap import origins, shared
from vltk.data.dataset import Dataset
from vltk.errors import VltkError
from vltk.models.hf import blip
from vltk.run import HfFolder, RunFolder

DOES = {
    "captioner": "describes: it may repeat what it has read",
    "filter": "scores: scores of images that it knows say little",
}


@dataclass(frozen=True)
class _Card:
    """A data set on which public weights were fine-tuned: `data` and `weights` find it in names of either."""

    name: str
    title: str
    data: str
    weights: str


COCO = _Card("coco", "COCO", r"(?<![a-z])(ms)?coco(?![a-z])", "coco")
FLICKR = _Card("flickr30k", "Flickr30k", r"flickr[ _-]?30k", "flickr")
PUBLISHED_ON = {blip.CAPTIONS: (COCO,), blip.RETRIEVAL: (COCO, FLICKR)}  # salesforce/BLIP, README.md


@dataclass
class Known:
    """Sentences: `told` is what the run knows of the job's data, `unknown` what could not be compared."""

    told: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


def known(model: Model) -> Known:
    """Of the data sets of the job, but for those of people, which are neither judged nor described."""
    found = Known()
    asked = [one for name, one in model.job.datasets.items() if not model.job.options.data[name].human]
    if (public := _public(model)) is not None:
        _by_its_class(model, asked, found, *public)
    elif isinstance(model.source, RunFolder):
        _by_its_data(model, model.source, asked, found)
    return found


def _public(model: Model) -> tuple[str, str] | None:
    """Class and folder of weights that were not trained here; None for others."""
    if isinstance(model.source, HfFolder):
        return model.source.model.architecture, model.source.path.name
    about = model.source.facts().get("imported") if isinstance(model.source, RunFolder) else None
    return None if about is None else (about["architecture"], Path(about["folder"]).name)


def _by_its_class(model: Model, asked: Sequence[Dataset], found: Known, kind: str, folder: str) -> None:
    """What weights of that class are published for; only the one that the name of the folder says, where it does."""
    found.unknown.append(f"the {model.role} {model.spec} was not trained here: on which images is not known")
    every = PUBLISHED_ON.get(kind, ())
    cards = [card for card in every if card.weights in folder.lower()] or every
    if names := [one.name for one in asked if any(_is_of(card, one) for card in cards)]:
        told = f"the {model.role} {model.spec} is a {kind}, which is published fine-tuned on"
        on = " or ".join(card.title for card in cards)
        if_so = f"if it is one of these, it knows {', '.join(names)}, which this job {DOES[model.role]}"
        found.told.append(f"{told} {on}: {if_so}")


def _by_its_data(model: Model, source: RunFolder, asked: Sequence[Dataset], found: Known) -> None:
    """What of the job's data is in the data that the run was trained on."""
    digests = set(source.facts().get("identity", {}).get("data", {}).values())
    names = list(dict.fromkeys(name for stream in model.stage.streams.values() for name in stream.data))
    who, phrases = f"the {model.role} {model.spec}", list[str]()
    for one in asked:
        if one.digest in digests or one.name in names:
            phrases.append(one.name)
            continue
        for name in names:
            try:
                phrases += _shared(one, name)
            except VltkError as error:
                why = str(error).splitlines()[0]
                found.unknown.append(
                    f"what {one.name} shares with {name}, which {who} was trained on, is not known: {why}"
                )
    if phrases:
        found.told.append(f"{who} was trained on {', '.join(phrases)}, which this job {DOES[model.role]}")


def _shared(data: Dataset, name: str) -> list[str]:
    """How many of its images are in the data set of that name, in words; nothing where none is.

    Raises VltkError where that cannot be told, and it was not made of it either.
    """
    try:
        count = shared(data.name, name)
    except VltkError:
        if name in origins(data.name):
            return [f"images of {data.name} (made of {name})"]
        raise
    return [f"{count:,} of the {len(data):,} images of {data.name} (in {name})"] if count else []


def _is_of(card: _Card, data: Dataset) -> bool:
    """Whether it is the data set of the card, or was made of it, by the names and what its manifest says."""
    names = [data.name, *origins(data.name)]
    return data.manifest.get("source", {}).get("card") == card.name or any(
        re.search(card.data, name.lower()) for name in names
    )
