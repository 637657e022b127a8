"""What a reader of the report has to know before its figures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from vltk.capfilt import models
from vltk.capfilt.job import ROLES
from vltk.capfilt.known import known
from vltk.errors import Missing, VltkError
from vltk.report.capfilt.counted import Counted
from vltk.report.capfilt.extent import Extent
from vltk.report.capfilt.made import Made, changed_shards, differences

FLAT = 0.05  # span of probabilities below which a filter tells nothing apart


def warnings(made: Made, extent: Extent, counted: Counted) -> Iterator[str]:
    """A sentence each."""
    if other := differences(made):
        told = "The recipe that was given says something else than what this job was made with, which is shown here:"
        yield "\n".join([told, *(f"  {line}" for line in other)])
    if changed := changed_shards(made):
        told = f"{len(changed):,} shards changed since they were scored, the first: {changed[0]}."
        yield f"{told} Texts and scores are of what they were, pictures of what they are."
    for role in ROLES:
        for facts in made.models(role):
            yield from _what_it_knows(made, role, facts)
    low, high = extent.ranges.get("itm", (0.0, 1.0))
    if high - low < FLAT and sum(bins.total for one in counted.sources.values() for bins in one.scores["itm"]) > 1:
        told = f"{low:.3f} to {high:.3f}"
        yield f"The filter gives every text nearly the same probability of a match, {told}: it has learned nothing."
    if counted.errors:
        yield f"{counted.errors.total():,} images cannot be read, the first: {next(iter(counted.errors))}"
    for name, dataset in made.job.datasets.items():
        if not dataset.manifest["texts"]:
            yield f"{name} has no texts of its own: captions only."


def _what_it_knows(made: Made, role: str, facts: dict[str, Any]) -> Iterator[str]:
    """Whether the model was trained on what it captions or scores."""
    spec = facts["run"]
    try:
        model = models.Model(role, spec, replace(made.job, force=True))
        same = model.facts["weights"] == facts["weights"]
    except Missing:
        yield f"The {role} {spec} is not there any more: what it was trained on is not known."
        return
    except VltkError as error:
        yield f"What the {role} {spec} was trained on is not known: {error}"
        return
    if not same:
        yield f"The {role} {spec} has other weights by now: what it was trained on then is not known."
        return
    found = known(model)
    yield from (f"{sentence[0].upper()}{sentence[1:]}." for sentence in [*found.told, *found.unknown])
