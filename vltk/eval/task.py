"""Task cards (`tasks/NAME.yaml`: a protocol and its options), suites of them, and tasks written on the command line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, ValidationError

from vltk import parts
from vltk.errors import RecipeError
from vltk.eval.headline import protocols
from vltk.parts import Choice
from vltk.strict import Strict, problems, suggest

PROTOCOLS = "eval/protocols"
FLAVA = "flava"
OPTION = re.compile(r"\w+=")  # at the start of a value on the command line


class Suite(Strict):
    """Names of tasks under headings, or tasks as on the command line; at most `limit` samples of each data set."""

    about: str
    tasks: dict[str, list[str]]
    limit: Annotated[int, Field(gt=0)] | None = None

    @property
    def entries(self) -> list[str]:
        """All tasks, in their order."""
        return [name for tasks in self.tasks.values() for name in tasks]


def names() -> list[str]:
    """The task cards there are."""
    return _listed("tasks")


def suite_names() -> list[str]:
    return _listed("suites")


def suite(name: str) -> Suite:
    """The suite of that name, or in the file NAME.yaml; RecipeError where there is none, or it says something else."""
    path = Path(name)
    if path.suffix == ".yaml" and path.is_file():
        return _own_suite(path)
    if name not in suite_names():
        raise RecipeError(f"--suite: no suite '{name}'{suggest(name, suite_names())}")
    return Suite(**_content("suites", name))


def _own_suite(path: Path) -> Suite:
    try:
        return Suite.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        told = [(str(path), ".".join(map(str, loc)), text) for loc, text in problems(error)]
        raise RecipeError([": ".join(filter(None, words)) for words in told]) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = path if mark is None else f"{path}:{mark.line + 1}"
        raise RecipeError(f"{where}: {getattr(error, 'problem', None) or error}") from None


def card(name: str, protocol: str = FLAVA) -> Choice:
    """What a task card says: `protocol:` a part of eval/protocols, its options, and a line `about:` the task.

    Under the name of an evaluation protocol (headlines.yaml) stand the options in which that one differs.
    """
    content = _content("tasks", name)
    others = protocols()
    options = {key: value for key, value in content.items() if key not in ("about", "protocol", *others)}
    return parts.choose(PROTOCOLS, content["protocol"], **options | content.get(protocol, {}))


def read(entries: Iterable[str], protocol: str = FLAVA, origin: str = "--tasks") -> dict[str, Choice]:
    """Each entry of `--tasks`: the name of a card, or PROTOCOL:VALUE:... RecipeError lists every wrong entry, and says
    where they stand."""
    chosen: dict[str, Choice] = {}
    wrong: list[str] = []
    for entry in entries:
        try:
            chosen[entry] = _inline(entry, protocol) if ":" in entry else _named(entry, protocol)
        except RecipeError as error:
            wrong += [f"{origin} {entry}: {problem}" for problem in error.problems]
    if wrong:
        raise RecipeError(wrong)
    return chosen


def limited(choice: Choice, limit: int) -> Choice:
    """The same task on at most `limit` samples of each data set; a smaller limit of its own stays."""
    own = getattr(choice, "limit", None)
    return choice.model_copy(update={"limit": limit if own is None else min(own, limit)})


def changed(choice: Choice, options: Mapping[str, Any]) -> Choice:
    """The same task with other values of its options; RecipeError where it has no such options."""
    return parts.choose(PROTOCOLS, choice.part, **choice.model_dump(exclude={"part"}) | dict(options))


def where_it_has(choice: Choice, options: Mapping[str, Any]) -> Choice:
    """The same task with those of these options that it has; None leaves one as it is."""
    own = {key: value for key, value in options.items() if value is not None and key in type(choice).model_fields}
    return changed(choice, own) if own else choice


def _named(name: str, protocol: str) -> Choice:
    if name not in names():
        wanted = f"no task '{name}'{suggest(name, names())}"
        raise RecipeError(f"{wanted}; or write one as {', '.join(usage(part) for part in parts.names(PROTOCOLS))}")
    return card(name, protocol)


def _inline(entry: str, protocol: str) -> Choice:
    """`cola:budget=short`, `retrieval:flickr8k/dev`, `retrieval:flickr8k/dev:captions=1`; `null` for nothing."""
    part, *values = entry.split(":")
    if part in names():
        if not all(OPTION.match(value) for value in values):
            raise RecipeError(f"write options of a task as {part}:key=value")
        given = dict(value.split("=", 1) for value in values)
        return changed(card(part, protocol), {key: yaml.safe_load(value) for key, value in given.items()})
    required = _required(part)
    plain = [value for value in values if not OPTION.match(value)]
    if len(plain) != len(required):
        raise RecipeError(f"write it as {usage(part)}, with options behind as :key=value")
    options = dict(value.split("=", 1) for value in values if OPTION.match(value))
    named: dict[str, Any] = {key: yaml.safe_load(value) for key, value in options.items()}
    said = [None if value == "null" else value for value in plain]
    return parts.choose(PROTOCOLS, part, **dict(zip(required, said, strict=True)), **named)


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
