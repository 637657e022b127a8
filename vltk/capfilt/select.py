"""`vltk capfilt select`: which texts are kept, by their scores alone; no model is run, so that rules may change.

Gates first, then the rule. Texts of people are kept without either.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property

from vltk.capfilt import score
from vltk.capfilt.gates import Looked, closed, same
from vltk.capfilt.job import Job, Shard
from vltk.capfilt.provenance import Facts, Provenance
from vltk.capfilt.rules._contract import HUMAN, Decide, Scored
from vltk.capfilt.tables import DECISIONS, Row, Tables, differences, unspelled
from vltk.capfilt.work import each
from vltk.errors import Missing
from vltk.identity import digest
from vltk.log import say

STEP = "select"
VERSION = 1  # of what a table of decisions holds


def tables(job: Job) -> Tables:
    return Tables(job.folder / "decisions", DECISIONS)


def select(job: Job) -> Counter[tuple[str, bool]]:
    """Decides on every text of every shard; how many of each source were kept (True) and rejected.

    Decisions that stand for equal facts are left. Raises Missing where a shard is not scored, VltkError where it
    changed since then, or was scored by another recipe.
    """
    scores, made = score.tables(job), tables(job)
    facts = facts_of(job)
    judge = _Judge(job, facts)
    counts: Counter[tuple[str, bool]] = Counter()

    def make(shard: Shard) -> None:
        rows = [row for _, texts in scores.by_key(shard.name) for row in judge.decided(shard.name, texts)]
        made.write(shard.name, [{"data": shard.dataset.name} | row for row in rows], facts[shard.name])

    claims = job.folder / "claims"
    each(STEP, job.shards, claims, lambda shard: made.stands(shard.name, facts[shard.name], redo=True), make)
    for shard in job.shards:
        columns = made.table(shard.name, ["source", "kept", "text"])
        kept = columns.filter(columns["text"].is_valid()).select(["source", "kept"]).to_pydict()
        counts.update(zip(kept["source"], kept["kept"], strict=True))
    for source in dict.fromkeys(source for source, _ in sorted(counts)):
        kept, lost = counts[source, True], counts[source, False]
        say(f"select: {kept:,} of {kept + lost:,} {source} texts kept")
    return counts


def facts_of(job: Job) -> dict[str, Facts]:
    """What decides on the texts of each shard: its scores, and those of all shards, which rules and gates may count.

    Raises as `Provenance.require_scored` does.
    """
    provenance, options = Provenance(job), job.options
    said = {"select": options.select.model_dump(mode="json"), "gates": options.gates.model_dump(mode="json")}
    scores = {shard.name: provenance.require_scored(shard) for shard in job.shards}
    own = {"step": STEP, "version": VERSION, **said, "shards": digest(unspelled(scores))}
    return {name: own | {"scores": one} for name, one in scores.items()}


def require_decided(job: Job) -> dict[str, Facts]:
    """What the decisions on each shard were made of. Raises Missing without them, VltkError where they, or the scores
    and captions below them, are not those of the recipe."""
    made, again = tables(job), f"vltk capfilt select {job.given}"
    found = {shard.name: made.made_of(shard.name) for shard in job.shards}
    if lacking := [name for name, before in found.items() if before is None]:
        raise Missing(f"nothing is decided on the shard {lacking[0]} yet", [("its decisions", again)])
    facts = facts_of(job)
    for name, before in found.items():
        if unlike := differences(before, facts[name]):
            raise made.other(name, unlike, f"decide again: {again}")
    return facts


class _Judge:
    """Gates and rule of a job, and what they have to know of all its texts."""

    def __init__(self, job: Job, facts: Mapping[str, Facts]) -> None:
        self.job = job
        self.prompts = {name: (made["scores"]["captions"] or {}).get("prompt", "") for name, made in facts.items()}

    @cached_property
    def decide(self) -> Decide:
        return self.job.rule.fit(_Values(self._values))

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

    @cached_property
    def copies(self) -> Counter[str]:
        """For how many images each text stands; not counted where no gate asks."""
        found: Counter[str] = Counter()
        if self.job.options.gates.max_copies is None:
            return found
        for _, texts in self._every():
            found.update({same(row["text"]) for row in texts if row["text"] is not None and row["source"] != HUMAN})
        return found

    def _values(self) -> dict[str, list[float]]:
        """The scores by which the rule chooses, of all texts that pass the gates, by source."""
        by, found = self.job.rule.by, defaultdict[str, list[float]](list)
        if by is None:
            return found
        for shard, texts in self._every():
            for row in texts:
                if row["source"] != HUMAN and self._refused(shard, row) is None:
                    found[row["source"]].append(_scored(row).score(by))
        return found

    def _every(self) -> Iterator[tuple[str, list[Row]]]:
        scores = score.tables(self.job)
        for shard in self.prompts:
            yield from ((shard, texts) for _, texts in scores.by_key(shard))


class _Values(Mapping[str, Sequence[float]]):
    """What a rule is fitted to, which is read when it first looks."""

    def __init__(self, read: Callable[[], Mapping[str, Sequence[float]]]) -> None:
        self.read = read

    @cached_property
    def found(self) -> Mapping[str, Sequence[float]]:
        return self.read()

    def __getitem__(self, source: str) -> Sequence[float]:
        return self.found[source]

    def __iter__(self) -> Iterator[str]:
        return iter(self.found)

    def __len__(self) -> int:
        return len(self.found)


def _settled(reason: str | None) -> tuple[bool, str]:
    return (True, "written by people") if reason is None else (False, reason)


def _scored(row: Row) -> Scored:
    return Scored(row["source"], row["itm"], row["itc"], row["logprob"])
