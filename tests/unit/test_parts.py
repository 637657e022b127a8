"""The folder is the registry and the constructor is the schema."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pytest
from pydantic import ValidationError

from tests import toy
from vltk import parts
from vltk.errors import RecipeError, VltkError
from vltk.parts import Choice, EachFrom, From, choose
from vltk.strict import Strict, problems


@pytest.fixture(autouse=True)
def _toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy.install(tmp_path, monkeypatch)


def test_a_file_is_a_part() -> None:
    assert parts.names("objectives") == ["itc", "mim"]
    assert parts.names("models/encoders") == ["vit"]
    assert parts.names("no/such/folder") == []
    assert parts.find("models/encoders", "vit").__name__ == "Vit"
    assert parts.summary("objectives", "mim") == "Masked patches."


def test_a_part_is_one_public_class() -> None:
    with pytest.raises(VltkError, match=r"toyparts/data/views/two.py must hold one public class; found: One, Two"):
        parts.find("data/views", "two")


def test_an_unknown_part_says_the_nearest_and_what_exists() -> None:
    with pytest.raises(RecipeError) as error:
        parts.find("objectives", "mimm")
    assert str(error.value) == "no 'mimm' in toyparts/objectives; did you mean 'mim'? have: itc, mim"


def test_keyword_arguments_come_from_the_recipe_and_positional_ones_by_name_from_the_program() -> None:
    built = choose("objectives", "itc", temperature=0.1).build(codes=object(), model="the model")
    assert (built.model, built.scale, built.temperature, built.smooth) == ("the model", 1.0, 0.1, 0.0)
    assert choose("objectives", "itc").build(model=1, scale=2.0).scale == 2.0


def test_what_the_program_lacks_is_named() -> None:
    with pytest.raises(
        RecipeError, match="part 'mim' needs codes, which this place does not have; have: model, tokenizer"
    ):
        choose("objectives", "mim").build(model=1, tokenizer=2)


def test_a_part_of_a_part() -> None:
    choice = choose("models/families", "flava", image={"part": "vit", "depth": 3})
    assert choice.build().image.depth == 3
    assert choice.model_dump(mode="json") == {
        "part": "flava",
        "width": 64,
        "image": {"part": "vit", "depth": 3, "width": 8},
    }
    assert choose("models/families", "flava", image=None).build().image is None
    assert choose("models/families", "flava", image=choose("models/encoders", "vit", depth=1)).build().image.depth == 1


def test_every_wrong_option_at_once_with_the_value_given() -> None:
    with pytest.raises(RecipeError) as error:
        choose("models/families", "flava", width="wide", image={"part": "vit", "dept": 3}, height=1)
    assert error.value.problems == [
        "toyparts/models/families/flava.py: width: Input should be a valid integer, "
        "unable to parse string as an integer, given 'wide'",
        "toyparts/models/families/flava.py: image.depth: required, and not given",
        "toyparts/models/families/flava.py: image.dept: unknown key, given 3; did you mean 'depth'? have: depth, width",
        "toyparts/models/families/flava.py: height: unknown key, given 1; have: image, width",
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ratio": True}, "ratio: should not be yes or no, given True"),
        ({"kind": "blok"}, "kind: Input should be 'block' or 'random', given 'blok'"),
        ({"ratio": float("nan")}, "ratio: Input should be a finite number, given nan"),
        ({"rato": 1}, "rato: unknown key, given 1; did you mean 'ratio'? have: flat, kind, ratio"),
    ],
)
def test_wrong_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError) as error:
        choose("objectives", "mim", **options)
    assert error.value.problems == [f"toyparts/objectives/mim.py: {message}"]


def test_null_means_the_default_where_null_is_no_value() -> None:
    assert choose("objectives", "mim", ratio=None, flat=True).model_dump() == {
        "part": "mim", "ratio": 0.4, "kind": "block", "flat": True,
    }  # fmt: skip


def test_choices_are_frozen_and_equal_by_value() -> None:
    choice = choose("objectives", "itc")
    assert choice == choose("objectives", "itc", temperature=0.07)
    with pytest.raises(ValidationError):
        choice.part = "mim"  # type: ignore[misc]


class Section(Strict):
    losses: Annotated[dict[str, Choice], EachFrom("objectives", least=1)]
    model: Annotated[Choice, From("models/families", "models/codebooks")] = Choice(part="flava")


def test_the_name_is_the_part_unless_told() -> None:
    made = Section.model_validate({"losses": {"itc": {}, "again": {"part": "itc", "smooth": 0.1}, "mim": "mim"}})
    assert {name: choice.part for name, choice in made.losses.items()} == {"itc": "itc", "again": "itc", "mim": "mim"}
    assert made.model_dump(mode="json")["losses"]["again"] == {"part": "itc", "temperature": 0.07, "smooth": 0.1}


def test_a_part_is_looked_for_in_each_folder() -> None:
    assert (
        Section.model_validate({"losses": {"itc": {}}, "model": {"part": "dvae", "codes": 2}}).model.build().codes == 2
    )


@pytest.mark.parametrize(
    ("data", "where", "message"),
    [
        ({"losses": {}}, ("losses",), "at least 1 wanted; have: itc, mim"),
        ({"losses": {"itc": None}}, ("losses",), "at least 1 wanted; have: itc, mim"),
        ({"losses": ["itc"]}, ("losses",), "should be a mapping of name: options, given ['itc']"),
        ({"losses": {"itc": 3}}, ("losses", "itc"), "should be the name of a part, or {part: name, ...}, given 3"),
        ({"losses": {"itc": {}}, "model": {"codes": 3}}, ("model",), "needs `part: name`; have: dvae, flava, given"),
        ({"losses": {"x": {"part": "itcc"}}}, ("losses", "x"), "no 'itcc' in toyparts/objectives; did you mean 'itc'?"),
    ],
)
def test_wrong_choices(data: dict[str, object], where: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValidationError) as error:
        Section.model_validate(data)
    ((loc, text),) = problems(error.value)
    assert loc == where
    assert text.startswith(message)


def test_a_glance_imports_no_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts.importlib, "import_module", lambda name: pytest.fail(f"imported {name}"))
    made = Section.model_validate({"losses": {"itc": {"whatever": 3}}}, context=parts.GLANCE)
    assert made.losses["itc"].part == "itc"
    with pytest.raises(VltkError, match="only glanced at"):
        made.losses["itc"].build(model=1)
    with pytest.raises(ValidationError, match="no 'itx'"):
        Section.model_validate({"losses": {"itx": {}}}, context=parts.GLANCE)


def test_describe_shows_types_and_defaults() -> None:
    assert parts.describe("objectives", "itc") == [
        "objectives/itc: Contrast.",
        "",
        "Pulls pairs together.",
        "",
        "from the program: model, scale",
        "  temperature: float  (default 0.07)",
        "  smooth: float  (default 0.0)",
    ]
    assert "  image: a part of models/encoders, or null  (default None)" in parts.describe("models/families", "flava")
    assert "  depth: int  (required)" in parts.describe("models/encoders", "vit")
