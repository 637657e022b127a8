"""What a fetch may be told: a YAML recipe, `key=value`, flags. Every mistake at once, with the names there are."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError

from vltk.data.fetch import downloader
from vltk.data.fetch.form import Layout
from vltk.data.fetch.policy import Policy, agent
from vltk.data.prepare import Limits, mistakes
from vltk.errors import RecipeError, VltkError
from vltk.strict import Strict, problems


class Columns(Strict):
    """The layout of a list of one's own, where its ending and first line do not tell."""

    layout: Layout | None = None
    columns: list[str] = []  # in order, where the file has no header line
    url: str | None = None
    caption: list[str] | None = None
    quoted: bool | None = None
    encoding: str | None = None


class FetchOptions(Strict):
    """The keys of a fetch recipe. Sizes in pixels and bytes, times in seconds."""

    processes: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1)
    threads: int = Field(32, ge=1)  # of each process: as many downloads at once
    distributor: Literal["multiprocessing", "pyspark", "ray"] = "multiprocessing"
    shard_size: int = Field(10_000, ge=1)  # input rows a shard
    short_side: int = 256  # data.md section 1
    quality: int = 90
    min_side: int = 8
    max_aspect: float = 10.0
    max_pixels: int = 50_000_000
    max_bytes: int = Field(20 * 2**20, ge=1)
    rounds: int = Field(3, ge=1)  # the second and third for failures that may mend
    pause: float = Field(60.0, ge=0)  # before the second round; twice as long before each further one
    deadline: float = Field(30.0, gt=0)  # of one request
    connections: int = Field(256, ge=1)
    per_host: int = Field(16, ge=1)
    allow_private: bool = False
    private_hosts: list[str] = []
    contact: str = ""  # a mail address or page, in the user agent
    stall: float = Field(120.0, gt=0)
    restarts: int = Field(5, ge=0)
    limit: int | None = Field(None, ge=1)  # first rows only
    expected: float | None = Field(None, gt=0, le=1)  # share of the rows that give an image; default: the card's
    source: Columns = Columns()

    @property
    def piece(self) -> int:
        """Rows of one piece: what the processes have in hand together is one shard."""
        return max(1, self.shard_size // self.processes)

    def limits(self) -> Limits:
        return Limits(self.max_bytes, self.max_pixels, self.min_side, self.max_aspect, self.short_side, self.quality)

    def policy(self) -> Policy:
        return Policy(
            allow_private=self.allow_private,
            private_hosts=tuple(self.private_hosts),
            deadline=self.deadline,
            max_bytes=self.max_bytes,
            user_agent=agent(self.contact),
            connections=self.connections,
            per_host=self.per_host,
        )

    def downloader(self, piece: int) -> downloader.Options:
        return downloader.Options(
            processes=self.processes,
            threads=self.threads,
            piece=piece,
            distributor=self.distributor,
            stall=self.stall,
            restarts=self.restarts,
        )


def load(recipe: Path | None = None, overrides: list[str] | None = None) -> FetchOptions:
    """Options of a recipe file with `key=value` on top (`source.columns=[url,caption]`). Raises RecipeError."""
    given = _file(recipe) if recipe else {}
    for text in overrides or []:
        key, equals, value = text.partition("=")
        if not equals:
            raise RecipeError(f"{text!r} is no option: KEY=VALUE, such as threads=64 short_side=288")
        _put(given, key.split("."), yaml.safe_load(value) if value else None)
    where = f"{recipe}: " if recipe else ""
    try:
        options = FetchOptions(**given)
    except ValidationError as error:
        raise RecipeError([f"{where}{'.'.join(map(str, loc))}: {text}" for loc, text in problems(error)]) from None
    wrong = mistakes(vars(options))
    if wrong:
        raise RecipeError([f"{where}{key}: {meant}, given {getattr(options, key)}" for key, meant in wrong.items()])
    return options


def _file(recipe: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise VltkError(f"the fetch recipe {recipe} is not there") from None
    except yaml.YAMLError as error:
        raise RecipeError(f"{recipe}: no YAML: {error}") from None
    if not isinstance(found, dict):
        raise RecipeError(f"{recipe}: a fetch recipe is a mapping, such as threads: 64")
    return found


def _put(tree: dict[str, Any], keys: list[str], value: Any) -> None:
    for key in keys[:-1]:
        child = tree.setdefault(key, {})
        if not isinstance(child, dict):
            raise RecipeError(f"{'.'.join(keys)}: {key} is no mapping")
        tree = child
    tree[keys[-1]] = value
