"""The folder is the registry, the constructor is the schema: `vltk/objectives/itc.py` is the recipe's part `itc`.

A part file holds one public class. Positional arguments of its constructor are given by the program, by name;
keyword-only ones by the recipe, checked against their types.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import pkgutil
import typing
from functools import cache
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, ClassVar

from pydantic import ValidationError, create_model
from pydantic_core import InitErrorDetails, PydanticCustomError, core_schema

from vltk.errors import RecipeError, VltkError
from vltk.strict import Strict, accepts, detail, problems, rebuilt, suggest

PACKAGE = "vltk"
FOLDERS = (  # that hold parts
    "objectives",
    "models/families",
    "models/encoders",
    "models/fusion",
    "models/codebooks",
    "data/views",
    "data/sources",
    "eval/protocols",
    "eval/datasets",
    "capfilt/rules",
)
GLANCE = {"glance": True}  # validation context: check the names of parts, import none


class Unfit(RecipeError):
    """Options that do not fit together, each problem with its key below `inside`, the part that they belong to."""

    def __init__(self, problems: list[str], inside: Choice) -> None:
        super().__init__(problems)
        self.inside = inside


class Choice(Strict):
    """One part chosen by a recipe with its options: `{part: itc, temperature: 0.1}`."""

    hidden: ClassVar[frozenset[str]] = frozenset({"part"})
    part: str
    made_from: ClassVar[type | None] = None

    def build(self, **provided: Any) -> Any:
        """The part itself: positional arguments by name from `provided`, the options as keywords.

        Raises RecipeError where the part needs something that is not provided, or where options do not fit together.
        """
        if self.made_from is None:
            raise VltkError(f"'{self.part}' was only glanced at; load the recipe to build it")
        asked = _positional(self.made_from)
        lacking = [p.name for p in asked if p.name not in provided and p.default is p.empty]
        if lacking:
            have = ", ".join(sorted(provided)) or "nothing"
            raise RecipeError(
                f"part '{self.part}' needs {', '.join(lacking)}, which this place does not have; have: {have}"
            )
        given = {p.name: provided[p.name] for p in asked if p.name in provided}
        options = {key: getattr(self, key) for key in type(self).model_fields if key != "part"}
        try:
            return self.made_from(**given, **options)
        except RecipeError as error:
            inside = error.inside if isinstance(error, Unfit) else self
            key = next((f"{key}." for key, value in options.items() if value is inside), "")
            raise Unfit([f"{key}{problem}" for problem in error.problems], self) from None


class From:
    """Marks one part: `Annotated[Choice, From("models/encoders")]` reads `vit` or `{part: vit, depth: 4}`."""

    def __init__(self, *folders: str) -> None:
        self.folders = folders

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        optional = accepts(source, NoneType)

        def read(value: Any, info: core_schema.ValidationInfo) -> Choice | None:
            return None if value is None and optional else _read(self.folders, value, None, info.context)

        return core_schema.with_info_plain_validator_function(read, serialization=_plain)


class EachFrom:
    """Marks parts by name: `Annotated[dict[str, Choice], EachFrom("objectives")]`; the name is the part unless told."""

    def __init__(self, *folders: str, least: int = 0) -> None:
        self.folders = folders
        self.least = least

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        def read(value: Any, info: core_schema.ValidationInfo) -> dict[str, Choice]:
            if not isinstance(value, dict):
                raise PydanticCustomError("mapping", "should be a mapping of name: options")
            if len(value) < self.least:
                raise PydanticCustomError("complete", f"at least {self.least} wanted{_exist(self.folders)}")
            made: dict[str, Choice] = {}
            wrong: list[InitErrorDetails] = []
            for name, options in value.items():
                try:
                    made[name] = _read(self.folders, options, name, info.context)
                except ValidationError as error:
                    wrong += [detail(e["type"], e["msg"], (name, *e["loc"]), e["input"]) for e in error.errors()]
                except PydanticCustomError as error:
                    wrong.append(detail(error.type, error.message(), (name,), options))
            if wrong:
                raise rebuilt(Choice, wrong)
            return made

        return core_schema.with_info_plain_validator_function(read, serialization=_plain)


def names(folder: str) -> list[str]:
    """The parts of `vltk/<folder>`, sorted: its modules whose names do not start with an underscore."""
    return list(_names(root() / folder))


@cache
def _names(folder: Path) -> tuple[str, ...]:
    """Looked up once, as reading a recipe asks hundreds of times: a file added later is found by the next process."""
    return tuple(sorted(m.name for m in pkgutil.iter_modules([str(folder)]) if not m.name.startswith("_")))


def root() -> Path:
    """The folder of the package whose sub-folders are searched for parts."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise VltkError(f"the package {PACKAGE} cannot be found")
    return Path(next(iter(spec.submodule_search_locations)))


def find(folder: str, name: str) -> type:
    """The one public class of `vltk/<folder>/<name>.py`; RecipeError where there is no such part."""
    if name not in names(folder):
        raise RecipeError(_no_part((folder,), name))
    module = importlib.import_module(f"{PACKAGE}.{folder.replace('/', '.')}.{name}")
    own = [c for c in vars(module).values() if inspect.isclass(c) and c.__module__ == module.__name__]
    public = [c for c in own if not c.__name__.startswith("_")]
    if len(public) != 1:
        found = ", ".join(c.__name__ for c in public) or "none"
        raise VltkError(f"{PACKAGE}/{folder}/{name}.py must hold one public class; found: {found}")
    return public[0]


def schema(folder: str, name: str) -> type[Choice]:
    """What a recipe may say about a part: `part` and the keyword-only arguments of its constructor as fields."""
    return _schema(find(folder, name), name)


def choose(folder: str, name: str, **options: Any) -> Choice:
    """A part with its options, as a recipe would choose it; RecipeError lists every wrong option."""
    try:
        return _read((folder,), {"part": name, **options}, None, None)
    except PydanticCustomError as error:
        raise RecipeError(error.message()) from None
    except ValidationError as error:
        place = f"{PACKAGE}/{folder}/{name}.py"
        raise RecipeError([f"{place}: {'.'.join(map(str, loc))}: {text}" for loc, text in problems(error)]) from None


def summary(folder: str, name: str) -> str:
    """The first line of a part's file, read without importing it."""
    source = next(root().glob(f"{folder}/{name}.py"), None) or root() / folder / name / "__init__.py"
    return (ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or "").partition("\n")[0]


def describe(folder: str, name: str) -> list[str]:
    """A part for its user: what it does, what the program gives it, and each option with type and default."""
    part = find(folder, name)
    module = inspect.getdoc(importlib.import_module(part.__module__)) or ""
    given = ", ".join(p.name for p in _positional(part)) or "nothing"
    lines = [f"{folder}/{name}: {module}", "", inspect.getdoc(part) or part.__name__, "", f"from the program: {given}"]
    options = {key: field for key, field in schema(folder, name).model_fields.items() if key != "part"}
    types = _types(part, set(options))
    for key, field in options.items():
        default = "required" if field.is_required() else f"default {field.default!r}"
        lines.append(f"  {key}: {_spoken(types[key])}  ({default})")
    return lines if options else [*lines, "  no options"]


@cache
def _schema(part: type, name: str) -> type[Choice]:
    keyword = [p for p in inspect.signature(part).parameters.values() if p.kind is p.KEYWORD_ONLY]
    taken = {p.name for p in keyword} & {"part", "build", "made_from"}
    if taken:
        raise VltkError(f"{part.__module__}: a part cannot have an option called {', '.join(sorted(taken))}")
    types = _types(part, {p.name for p in keyword})
    fields: dict[str, Any] = {p.name: (types[p.name], ... if p.default is p.empty else p.default) for p in keyword}
    made = create_model(part.__name__, __base__=Choice, __module__=part.__module__, **fields)
    made.made_from = part
    return made


def _types(part: type, wanted: set[str]) -> dict[str, Any]:
    """Types of the wanted constructor arguments; those of the others may be known to the type checker only."""
    constructor = inspect.unwrap(part.__init__)  # type: ignore[misc]
    written = getattr(constructor, "__annotations__", {})

    def stub() -> None:
        """Carries the annotations to resolve."""

    stub.__annotations__ = {name: written.get(name, Any) for name in wanted}
    return typing.get_type_hints(stub, getattr(constructor, "__globals__", {}), include_extras=True)


def _spoken(annotation: Any) -> str:
    """A type as `vltk parts` shows it."""
    if typing.get_origin(annotation) is tuple:
        return f"tuple[{', '.join(map(_spoken, typing.get_args(annotation)))}]"
    if typing.get_origin(annotation) is not Annotated:
        return inspect.formatannotation(annotation).replace("typing.", "")
    inner, *marks = typing.get_args(annotation)
    for mark in marks:
        if isinstance(mark, EachFrom):
            return f"parts of {' or '.join(mark.folders)}, by name"
        if isinstance(mark, From):
            return f"a part of {' or '.join(mark.folders)}" + (", or null" if accepts(inner, NoneType) else "")
    return _spoken(inner)


def _positional(part: type) -> list[inspect.Parameter]:
    wanted = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [p for p in inspect.signature(part).parameters.values() if p.kind in wanted]


def _read(folders: tuple[str, ...], value: Any, default: str | None, context: Any) -> Choice:
    """A Choice from `name`, `{part: name, ...}` or (with a default part) from the options alone."""
    if isinstance(value, Choice):
        return value
    if isinstance(value, str):
        value = {"part": value}
    if not isinstance(value, dict):
        raise PydanticCustomError("part", "should be the name of a part, or {part: name, ...}")
    name = value.get("part") or default
    if not isinstance(name, str):
        raise PydanticCustomError("no_part", f"needs `part: name`{_exist(folders)}")
    home = next((folder for folder in folders if name in names(folder)), None)
    if home is None:
        raise PydanticCustomError("unknown_part", _no_part(folders, name))
    if context is GLANCE:
        return Choice(part=name)
    return schema(home, name).model_validate({**value, "part": name})


def _no_part(folders: tuple[str, ...], name: str) -> str:
    places = " or ".join(f"{PACKAGE}/{folder}" for folder in folders)
    return f"no '{name}' in {places}{_exist(folders, name)}"


def _exist(folders: tuple[str, ...], name: str = "") -> str:
    return suggest(name, [part for folder in folders for part in names(folder)])


def _dump(value: Any, info: core_schema.SerializationInfo) -> Any:
    if isinstance(value, dict):
        return {name: choice.model_dump(mode=info.mode) for name, choice in value.items()}
    return value.model_dump(mode=info.mode) if isinstance(value, Choice) else value


_plain = core_schema.plain_serializer_function_ser_schema(_dump, info_arg=True)
