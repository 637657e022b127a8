"""What a job was made of, as its tables say it themselves, whatever the recipe says by now."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from html import escape
from typing import Any

import yaml

from vltk.capfilt import select
from vltk.capfilt.job import Job
from vltk.capfilt.rules._contract import Rule
from vltk.capfilt.schema import RULES
from vltk.errors import Missing
from vltk.identity import changes
from vltk.parts import choose
from vltk.report.page import table

Facts = dict[str, Any]
_HEX = re.compile("[0-9a-f]{16,}")
SHORT = 12  # digits of a digest that are shown
_OF_TABLES = ("step", "version", "shard")  # in the facts of every table
_NAMED = {"captioner": "written by", "decoding": "how", "filter": "read by", "score": "how", "select": "rule"}


@dataclass(frozen=True)
class Made:
    """`origins`: by shard, what its decisions were made of."""

    job: Job
    origins: Mapping[str, Facts]

    @cached_property
    def rule(self) -> Rule:
        said = self._first["select"]
        built: Rule = choose(RULES, said["part"], **{k: v for k, v in said.items() if k != "part"}).build()
        return built

    @property
    def _first(self) -> Facts:
        return next(iter(self.origins.values()))

    def step(self, name: str) -> list[Facts]:
        """What a step says of each shard that it worked at: `captions`, `scores` or `decisions`."""
        judged = [self.origins[shard.name] for shard in self.job.shards if not shard.human]
        if name == "decisions":
            return [_without(one, "scores") for one in self.origins.values()]
        if name == "scores":
            return [_without(one["scores"], "captions") for one in judged]
        return [_without(one["scores"]["captions"]) for one in judged if one["scores"]["captions"]]

    def models(self, role: str) -> list[Facts]:
        """The captioner or the filter; several where shards were made by different ones, none where there was none."""
        found = [one[role] for step in ("captions", "scores") for one in self.step(step) if one.get(role)]
        return list({yaml.safe_dump(one): one for one in found}.values())


def read(job: Job) -> Made:
    """Raises Missing where a shard is not decided, or where `select` was stopped between two rules."""
    tables, again = select.tables(job), [("its decisions", f"vltk capfilt select {job.given}")]
    origins = {}
    for shard in job.shards:
        if (found := tables.made_of(shard.name)) is None:
            raise Missing(f"nothing is decided on the shard {shard.name} yet", again)
        origins[shard.name] = found
    if len({yaml.safe_dump([one["select"], one["gates"]]) for one in origins.values()}) > 1:
        raise Missing("the shards were decided by different rules or gates", again)
    return Made(job, origins)


def differences(made: Made) -> list[str]:
    """One line for each option of the recipe that is not what the tables were made with."""
    options = made.job.options
    said = {
        "captioner": options.captioner,
        "decoding": options.caption.model_dump(mode="json"),
        "seed": options.seed,
        "filter": options.filter,
        "score": options.score.model_dump(mode="json"),
        "precision": options.precision,
        "select": options.select.model_dump(mode="json"),
        "gates": options.gates.model_dump(mode="json"),
    }
    found = [
        line
        for step in ("captions", "scores", "decisions")
        for stored in made.step(step)
        for key, value in stored.items()
        if key in said
        for line in changes(_comparable(value, key), _as_stored(said[key], value, key), key)
    ]
    if options.captioner is not None and made.step("scores") and not made.step("captions"):
        found.append(f"captioner: was none, is {options.captioner}")
    return list(dict.fromkeys(found))


def changed_shards(made: Made) -> list[str]:
    """Those whose samples are not any more what was scored."""
    return [one.name for one in made.job.shards if made.origins[one.name]["scores"]["shard"] != one.content]


def _comparable(stored: Any, key: str) -> Any:
    """Of a model its name."""
    return (stored or {}).get("run") if key in ("captioner", "filter") else stored


def _as_stored(said: Any, stored: Any, key: str) -> Any:
    """What does not decide the result, as batch sizes, is not stored."""
    loose = key in ("decoding", "score") and isinstance(stored, dict)
    return {name: value for name, value in said.items() if name in stored} if loose else said


def told(made: Made) -> str:
    """A table of everything, in the words of a recipe."""
    rows = [(escape(step), escape(what), f'<span class="said">{value}</span>') for step, what, value in _told(made)]
    return table(("", "what", "value"), rows)


def _told(made: Made) -> Iterator[tuple[str, str, str]]:
    job = made.job
    for name, dataset in job.datasets.items():
        human = ", texts of people" if job.options.data[name].human else ""
        yield "data", name, f"{len(dataset):,} samples, {dataset.digest[:SHORT]}{human}"
    for step in ("captions", "scores", "decisions"):
        facts = made.step(step)
        if not facts:
            yield step, "", "none"
        for key in dict.fromkeys(key for one in facts for key in one):
            yield step, _NAMED.get(key, key), several(words(one.get(key)) for one in facts)


def several(values: Iterable[str]) -> str:
    """Each different value; of how many shards, where they are several."""
    counts = Counter(values)
    if len(counts) == 1:
        return escape(next(iter(counts)))
    return "<br>".join(f"{escape(value)} (shards: {count:,})" for value, count in counts.items())


def words(value: Any) -> str:
    """As a recipe says it, in one line; digests are cut."""
    if value is None:
        return "none"
    text = yaml.safe_dump(_short(value), default_flow_style=True, sort_keys=False, width=10**9, allow_unicode=True)
    line = text.strip().removesuffix("...").strip()
    return line[1:-1] if isinstance(value, dict) else line


def _short(value: Any) -> Any:
    if isinstance(value, dict):
        first = {"part": value["part"]} if "part" in value else {}
        return {key: _short(one) for key, one in (first | value).items()}
    return value[:SHORT] if isinstance(value, str) and _HEX.fullmatch(value) else value


def _without(facts: Facts, *names: str) -> Facts:
    return {key: value for key, value in facts.items() if key not in (*_OF_TABLES, *names)}
