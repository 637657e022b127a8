"""Checked, frozen data: the base of all that a recipe says, and the words of its error messages."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Callable, Iterable
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Self, Union

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

_COMPLETE = {"complete", "unknown_key", "unknown_part", "missing"}  # messages that need no "given ..." behind them


def suggest(word: str, known: Iterable[str]) -> str:
    """The end of an error message: the nearest name and what exists, `; did you mean 'itc'? have: itc, itm`."""
    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=1)
    return (f"; did you mean '{near[0]}'?" if near else ";") + f" have: {', '.join(names) or 'nothing'}"


def short(value: object, limit: int = 60) -> str:
    """The value as it is shown in an error message: its repr, cut to `limit` characters."""
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."


class Strict(BaseModel):
    """Base of everything a recipe says: unknown keys refused, immutable, null takes a key that has no null back out."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, protected_namespaces=(), validate_default=True, allow_inf_nan=False
    )
    hidden: ClassVar[frozenset[str]] = frozenset()  # fields that no error message offers

    @model_validator(mode="wrap")
    @classmethod
    def _check(cls, data: Any, handler: Callable[[Any], Self]) -> Self:
        if not isinstance(data, dict):
            return handler(data)
        given = {key: _pruned(cls, key, value) for key, value in data.items()}
        given = {key: value for key, value in given.items() if value is not None or _accepts(cls, key, NoneType)}
        flags = [key for key, value in given.items() if isinstance(value, bool) and not _accepts(cls, key, bool)]
        wrong = [detail("flag", "should not be yes or no", (key,), given[key]) for key in flags]
        try:
            made = handler(given)
        except ValidationError as error:
            others = [item for item in error.errors() if item["loc"] not in [(key,) for key in flags]]
            raise rebuilt(cls, [*wrong, *(_explained(cls, item) for item in others)]) from None
        if wrong:
            raise rebuilt(cls, wrong)
        return made


def problems(error: ValidationError) -> list[tuple[tuple[str | int, ...], str]]:
    """Every mistake in a validation error: where (the keys that lead to it) and what, with the value given."""
    found = []
    for item in error.errors():
        text = item["msg"].removeprefix("Value error, ")
        text = "required, and not given" if item["type"] == "missing" else text
        found.append((item["loc"], text if item["type"] in _COMPLETE else f"{text}, given {short(item['input'])}"))
    return found


def accepts(annotation: Any, kind: type) -> bool:
    """Whether a value of this kind fits the type as it stands: `int | None` accepts NoneType, `float` no bool."""
    origin = typing.get_origin(annotation)
    if origin in (Union, UnionType):
        return any(accepts(choice, kind) for choice in typing.get_args(annotation))
    if origin is Annotated:
        return accepts(typing.get_args(annotation)[0], kind)
    return annotation in (Any, kind) or (annotation is None and kind is NoneType)


def _accepts(cls: type[BaseModel], key: str, kind: type) -> bool:
    """The same for a key; an unknown key is left to the schema."""
    return key not in cls.model_fields or accepts(cls.model_fields[key].annotation, kind)


def _pruned(cls: type[BaseModel], key: str, value: Any) -> Any:
    """The value of a mapping keyed by name without the names set to null."""
    annotation = cls.model_fields[key].annotation if key in cls.model_fields else None
    if typing.get_origin(annotation) is not dict or not isinstance(value, dict):
        return value
    return {name: entry for name, entry in value.items() if entry is not None}


def detail(kind: str, message: str, loc: tuple[str | int, ...], given: Any) -> InitErrorDetails:
    """One mistake: its kind, what to say, the keys that lead to it, the value given."""
    return InitErrorDetails(type=PydanticCustomError(kind, message), loc=loc, input=given)


def rebuilt(cls: type[BaseModel], details: list[InitErrorDetails]) -> ValidationError:
    """The mistakes as one error that an enclosing check takes in with its own."""
    return ValidationError.from_exception_data(cls.__name__, details)


def _explained(cls: type[Strict], item: Any) -> InitErrorDetails:
    """The same mistake; an unknown key of this very mapping says the nearest key and which exist."""
    kind, message, loc = item["type"], item["msg"], item["loc"]
    if kind == "extra_forbidden" and len(loc) == 1:
        known = [key for key in cls.model_fields if key not in cls.hidden]
        kind, message = "unknown_key", f"unknown key, given {short(item['input'])}{suggest(str(loc[0]), known)}"
    return detail(kind, message, loc, item["input"])
