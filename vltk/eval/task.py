"""Task cards (`tasks/NAME.yaml`: a protocol and its options), suites of them, and tasks written on the command line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.resources import files
from typing import Any

import yaml

from vltk import parts
from vltk.errors import RecipeError
from vltk.parts import Choice
from vltk.strict import Strict, suggest

PROTOCOLS = "eval/protocols"


class Suite(Strict):
    """Names of tasks under headings. A name without a card is a task that this version cannot evaluate yet."""

    about: str
    tasks: dict[str, list[str]]

    def absent(self) -> dict[str, list[str]]:
        """The tasks without a card, under their headings."""
        known = names()
        gaps = {heading: [name for name in tasks if name not in known] for heading, tasks in self.tasks.items()}
        return {heading: tasks for heading, tasks in gaps.items() if tasks}

    def present(self) -> list[str]:
        known = names()
        return [name for tasks in self.tasks.values() for name in tasks if name in known]


def names() -> list[str]:
    """The task cards there are."""
    return _listed("tasks")


def suite_names() -> list[str]:
    return _listed("suites")


def suite(name: str) -> Suite:
    """The suite of that name; RecipeError where there is none."""
    if name not in suite_names():
        raise RecipeError(f"--suite: no suite '{name}'{suggest(name, suite_names())}")
    return Suite(**_content("suites", name))


def card(name: str) -> Choice:
    """What a task card says: `protocol:` a part of eval/protocols, its options, and a line `about:` the task."""
    content = _content("tasks", name)
    options = {key: value for key, value in content.items() if key not in ("about", "protocol")}
    return parts.choose(PROTOCOLS, content["protocol"], **options)


def read(entries: Iterable[str]) -> dict[str, Choice]:
    """Each entry of `--tasks`: the name of a card, or PROTOCOL:VALUE:... RecipeError lists every wrong entry."""
    chosen: dict[str, Choice] = {}
    wrong: list[str] = []
    for entry in entries:
        try:
            chosen[entry] = _inline(entry) if ":" in entry else _named(entry)
        except RecipeError as error:
            wrong += [f"--tasks {entry}: {problem}" for problem in error.problems]
    if wrong:
        raise RecipeError(wrong)
    return chosen


def limited(choice: Choice, limit: int) -> Choice:
    """The same task on at most `limit` samples of each data set; a smaller limit of its own stays."""
    options = choice.model_dump(exclude={"part"})
    own = options.get("limit")
    return parts.choose(PROTOCOLS, choice.part, **options | {"limit": limit if own is None else min(own, limit)})


def changed(choice: Choice, options: Mapping[str, Any]) -> Choice:
    """The same task with other values of its options; RecipeError where it has no such options."""
    return parts.choose(PROTOCOLS, choice.part, **choice.model_dump(exclude={"part"}) | dict(options))


def _named(name: str) -> Choice:
    if name not in names():
        wanted = f"no task '{name}'{suggest(name, names())}"
        raise RecipeError(f"{wanted}; or write one as {', '.join(usage(part) for part in parts.names(PROTOCOLS))}")
    return card(name)


def _inline(entry: str) -> Choice:
    """`cola:budget=short`, `retrieval:flickr8k/dev`, `retrieval:flickr8k/dev:captions=1`."""
    part, *values = entry.split(":")
    if part in names():
        if any("=" not in value for value in values):
            raise RecipeError(f"write options of a task as {part}:key=value")
        given = dict(value.split("=", 1) for value in values)
        return changed(card(part), {key: yaml.safe_load(value) for key, value in given.items()})
    required = _required(part)
    plain = [value for value in values if "=" not in value]
    if len(plain) != len(required):
        raise RecipeError(f"write it as {usage(part)}, with options behind as :key=value")
    options = dict(value.split("=", 1) for value in values if "=" in value)
    named: dict[str, Any] = {key: yaml.safe_load(value) for key, value in options.items()}
    return parts.choose(PROTOCOLS, part, **dict(zip(required, plain, strict=True)), **named)


def usage(part: str) -> str:
    """How a task of this protocol is written on the command line."""
    return ":".join([part, *(name.upper() for name in _required(part))])


def _required(part: str) -> list[str]:
    """The options that a protocol cannot do without, in their order."""
    fields = parts.schema(PROTOCOLS, part).model_fields
    return [name for name, field in fields.items() if field.is_required() and name != "part"]


def _listed(folder: str) -> list[str]:
    paths = (files("vltk.eval") / folder).iterdir()
    return sorted(path.name.removesuffix(".yaml") for path in paths if path.name.endswith(".yaml"))


def _content(folder: str, name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((files("vltk.eval") / folder / f"{name}.yaml").read_text(encoding="utf-8"))
    return content
