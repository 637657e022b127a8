"""Whether captions and scores were made by the recipe as it is now, as far as that is known without loading a run.

A run that is there is known by its weights, one that is gone by its name.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

from vltk.capfilt import caption, score
from vltk.capfilt.job import Job, Shard
from vltk.capfilt.models import named
from vltk.capfilt.tables import differences
from vltk.errors import Missing, VltkError

Facts = dict[str, Any]


class Provenance:
    """What a recipe says of its captions and scores, and which of them are others."""

    def __init__(self, job: Job) -> None:
        self.job = job

    @cached_property
    def captions(self) -> Facts | None:
        """What captions have to be made of, besides their shard; None where none are written."""
        spec = self.job.options.captioner
        return caption.said(self.job) | {"captioner": named(spec)} if spec and caption.wanted(self.job) else None

    @cached_property
    def filter(self) -> Facts | None:
        """What scores have to be read by; None where nothing is scored."""
        spec = self.job.options.filter
        return None if spec is None or all(shard.human for shard in self.job.shards) else named(spec)

    def captions_of(self, shard: Shard) -> Facts | None:
        return None if self.captions is None or shard.human else self.captions | {"shard": shard.content}

    def scores_of(self, shard: Shard) -> Facts:
        own = {"filter": None if shard.human else self.filter, "shard": shard.content}
        return score.facts_of(self.job, None) | own | {"captions": self.captions_of(shard)}

    def refuse_captions(self) -> None:
        """Raises VltkError where there are captions that the recipe would write otherwise."""
        made = caption.tables(self.job)
        for shard in caption.wanted(self.job):
            before = made.made_of(shard.name)
            if before is not None and (found := unlike(before, self.captions_of(shard) or {})):
                raise made.other(shard.name, found, self._again("caption"))

    def refuse_scores(self) -> None:
        """Raises VltkError where there are scores that the recipe would make otherwise."""
        for shard in self.job.shards:
            if score.tables(self.job).made_of(shard.name) is not None:
                self.require_scored(shard)

    def require_scored(self, shard: Shard) -> Facts:
        """What the scores of a shard were made of. Raises Missing without them, VltkError where the shard is another,
        and where they are not those of the recipe or of the captions that are there."""
        made = score.tables(self.job)
        before = made.made_of(shard.name)
        if before is None:
            told = f"the shard {shard.name} is not scored yet"
            raise Missing(told, [("its scores", f"vltk capfilt score {self.job.given}")])
        if before["shard"] != shard.content:
            raise VltkError(
                f"the shard {shard.name} changed since it was scored: caption and score it again, with --redo: "
                f"vltk capfilt run {self.job.given} --redo"
            )
        written = caption.tables(self.job).made_of(shard.name) if before["captions"] else None
        found = unlike(before, self.scores_of(shard))
        found = found or (differences(before["captions"], written, "captions") if written else [])
        if found:
            step = "run" if any(line.startswith("captions.") for line in found) else "score"
            raise made.other(shard.name, found, self._again(step))
        return before

    def _again(self, step: str) -> str:
        return f"make it again: vltk capfilt {step} {self.job.given} --redo"


def unlike(before: Facts, said: Facts) -> list[str]:
    """One line a key in which `before` is not what is said; it may tell more, of its captions too."""
    after = before | said
    if before.get("captions") and after.get("captions"):
        after["captions"] = before["captions"] | after["captions"]
    return differences(before, after)
