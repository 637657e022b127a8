"""What a run of a job knows of the data that it is to judge or to describe: images that it was trained on."""

from __future__ import annotations

import re
from collections.abc import Iterator
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
    found, who = Known(), f"the {model.role} {model.spec}"
    asked = [one for name, one in model.job.datasets.items() if not model.job.options.data[name].human]
    if phrases := [phrase for one in asked for phrase in _trained_on(model, one, found.unknown)]:
        found.told.append(f"{who} was trained on {', '.join(phrases)}, which this job {DOES[model.role]}")
    kind, cards = _published(model)
    if names := [one.name for one in asked if any(_is_of(card, one) for card in cards)]:
        on = " or ".join(card.title for card in cards)
        told = f"{who} is a {kind}, which is published fine-tuned on {on}: if it is one of these, it knows"
        found.told.append(f"{told} {', '.join(names)}, which this job {DOES[model.role]}")
    return found


def _trained_on(model: Model, data: Dataset, unknown: list[str]) -> Iterator[str]:
    """What of the data set the run has seen. To `unknown` comes what cannot be compared, and why."""
    source = model.source
    if not isinstance(source, RunFolder) or source.facts().get("imported"):
        return
    digests = set(source.facts().get("identity", {}).get("data", {}).values())
    names = dict.fromkeys(name for stream in model.stage.streams.values() for name in stream.data)
    if data.digest in digests or data.name in names:
        yield data.name
        return
    parents = origins(data.name)
    for name in names:
        try:
            if count := shared(data.name, name):
                yield f"{count:,} of the {len(data):,} images of {data.name} (in {name})"
        except VltkError as error:
            if name in parents or digests & set(parents.values()):
                yield f"images of {data.name} (made of {name})"
            else:
                who, why = f"the {model.role} {model.spec}", str(error).splitlines()[0]
                unknown.append(f"what {data.name} shares with {name}, on which {who} was trained, is not known: {why}")


def _published(model: Model) -> tuple[str, tuple[_Card, ...]]:
    """The class of public weights that were taken as they are, and what it is published fine-tuned on; only the one
    that the name of the folder says, where it says one."""
    if isinstance(model.source, HfFolder):
        kind, folder = model.source.model.architecture, model.source.path.name
    elif isinstance(model.source, RunFolder):
        about = model.source.facts().get("imported", {})
        kind, folder = about.get("architecture", ""), Path(about.get("folder", "")).name
    else:
        return "", ()
    cards = PUBLISHED_ON.get(kind, ())
    return kind, tuple(card for card in cards if card.weights in folder.lower()) or cards


def _is_of(card: _Card, data: Dataset) -> bool:
    """Whether it is the data set of the card, or was made of it, by the names and what its manifest says."""
    names = [data.name, *origins(data.name)]
    return data.manifest.get("source", {}).get("card") == card.name or any(
        re.search(card.data, name.lower()) for name in names
    )
