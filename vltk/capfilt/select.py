"""`vltk capfilt select`: which texts are kept, by their scores alone; no model is run, so that rules may change.

Gates first, then the rule. Texts of people are kept without either.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from vltk.capfilt import score
from vltk.capfilt.gates import Looked, closed, same
from vltk.capfilt.job import Job, Shard
from vltk.capfilt.rules._contract import HUMAN, Decide, Scored
from vltk.capfilt.tables import DECISIONS, Row, Tables
from vltk.capfilt.work import each
from vltk.errors import Missing, VltkError
from vltk.log import say

STEP = "select"


def tables(job: Job) -> Tables:
    return Tables(job.folder / "decisions", DECISIONS)


def select(job: Job) -> Counter[tuple[str, bool]]:
    """Decides on every text of every shard; how many of each source were kept (True) and rejected.

    Raises Missing where a shard is not scored, VltkError where it changed since then.
    """
    scores, made = score.tables(job), tables(job)
    origins = {shard.name: require_scored(job, shard) for shard in job.shards}
    judge = _Judge(job, origins)
    counts: Counter[tuple[str, bool]] = Counter()

    def make(shard: Shard) -> None:
        rows = [row for _, texts in scores.by_key(shard.name) for row in judge.decided(shard.name, texts)]
        made.write(shard.name, rows, judge.facts(shard.name))

    claims = job.folder / "claims"
    each(STEP, job.shards, claims, lambda shard: made.made_of(shard.name) == judge.facts(shard.name), make)
    for shard in job.shards:
        counts.update((row["source"], row["kept"]) for row in made.read(shard.name) if row["text"] is not None)
    for source in dict.fromkeys(source for source, _ in sorted(counts)):
        kept, lost = counts[source, True], counts[source, False]
        say(f"select: {kept:,} of {kept + lost:,} {source} texts kept")
    return counts


def require_scored(job: Job, shard: Shard) -> dict[str, Any]:
    """What the scores of a shard were made of. Raises Missing without them, VltkError where the shard is another."""
    found = score.tables(job).made_of(shard.name)
    again = f"vltk capfilt score {job.path}"
    if found is None:
        raise Missing(f"the shard {shard.name} is not scored yet", [("its scores", again)])
    if found["shard"] != shard.content:
        raise VltkError(
            f"the shard {shard.name} changed since it was scored: caption and score it again, with --redo: "
            f"vltk capfilt run {job.path} --redo"
        )
    return found


class _Judge:
    """Gates and rule of a job, and what they have to know of all its texts."""

    def __init__(self, job: Job, origins: dict[str, dict[str, Any]]) -> None:
        self.job, self.origins = job, origins
        self.prompts = {name: (made["captions"] or {}).get("prompt", "") for name, made in origins.items()}
        self.copies = self._copies() if job.options.gates.max_copies is not None else Counter[str]()
        self.decide = self._fitted()

    def facts(self, shard: str) -> dict[str, Any]:
        options = self.job.options
        said = {"select": options.select.model_dump(mode="json"), "gates": options.gates.model_dump(mode="json")}
        return {"step": STEP, **said, "scores": self.origins[shard]}

    def decided(self, shard: str, texts: Sequence[Row]) -> list[Row]:
        """The texts of an image, each with its decision."""
        reasons = [self._refused(shard, row) for row in texts]
        open_ = [number for number, reason in enumerate(reasons) if reason is None and texts[number]["source"] != HUMAN]
        chosen = dict(zip(open_, self.decide([_scored(texts[number]) for number in open_]), strict=True))
        return [
            row | dict(zip(("kept", "reason"), chosen.get(number, _settled(reasons[number])), strict=True))
            for number, row in enumerate(texts)
        ]

    def _refused(self, shard: str, row: Row) -> str | None:
        """Why a text is not asked about its scores; None where it is, or where a person wrote it."""
        if row["error"] is not None:
            return f"the image cannot be read: {row['error']}"
        if row["source"] == HUMAN:
            return None
        one = Looked(row["text"], row["source"], row["unknown"], row["finished"], self.copies[same(row["text"])])
        return closed(one, self.job.options.gates, self.prompts[shard])

    def _copies(self) -> Counter[str]:
        """For how many images each text stands."""
        found: Counter[str] = Counter()
        for _, texts in self._every():
            found.update({same(row["text"]) for row in texts if row["text"] is not None and row["source"] != HUMAN})
        return found

    def _fitted(self) -> Decide:
        by = self.job.rule.by
        values: dict[str, list[float]] = defaultdict(list)
        if by is None:
            return self.job.rule.fit(values)
        for shard, texts in self._every():
            for row in texts:
                if row["source"] != HUMAN and self._refused(shard, row) is None:
                    values[row["source"]].append(_scored(row).score(by))
        return self.job.rule.fit(values)

    def _every(self) -> Iterator[tuple[str, list[Row]]]:
        scores = score.tables(self.job)
        for shard in self.origins:
            yield from ((shard, texts) for _, texts in scores.by_key(shard))


def _settled(reason: str | None) -> tuple[bool, str]:
    return (True, "written by people") if reason is None else (False, reason)


def _scored(row: Row) -> Scored:
    return Scored(row["source"], row["itm"], row["itc"], row["logprob"])
