"""Data cards: the facts of an official data set, and how a person or `vltk eval --fetch` brings its files."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Annotated, Literal

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from vltk.data.card_schema import Facts, Licence, RemoteFile, Sha256
from vltk.errors import VltkError
from vltk.strict import suggest

Md5 = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
GATES = {"none": "open", "login": "an account", "form": "a form"}


class OfficialFile(Facts):
    """A file as it is distributed, its name below the folder of the data set; without `url` it is brought by hand.

    `holds` are paths of the official layout that are there once it is in place (none: itself), `or_holds` others that
    do as well. Zips and plain tars are in place as they are; a `.tar.gz` once it is a tar, and what has `gunzip` once
    it is not compressed any more; `inner` is a `.tar.gz` in a zip; `unpack` a command that puts it in place otherwise.
    `bytes` is for estimates alone.
    """

    name: str
    url: str | None = None
    bytes: int | None = None
    sha256: Sha256 | None = None
    md5: Md5 | None = None
    holds: list[str] = []
    or_holds: list[str] = []
    gunzip: bool = False
    inner: str | None = None
    unpack: str | None = None

    @field_validator("name")
    @classmethod
    def _plain(cls, name: str) -> str:
        if name.startswith("/") or ".." in name.split("/"):
            raise ValueError("a file name, with folders of the data set before it")
        return name

    @property
    def remote(self) -> RemoteFile | None:
        """What is downloaded; None for a file that is brought by hand."""
        if self.url is None:
            return None
        return RemoteFile(url=self.url, sha256=self.sha256, name=self.name.rpartition("/")[2])

    @property
    def in_place(self) -> str | None:
        """The name under which it is read as it is; None where it has to be unpacked into folders."""
        if self.unpack is not None:
            return None
        name = self.inner or self.name
        if name.endswith(".tgz"):
            return f"{name.removesuffix('.tgz')}.tar"
        return name.removesuffix(".gz") if self.gunzip or name.endswith(".tar.gz") else name


class DataCard(Facts):
    """One official data set. `counts`: samples of each split; `unverified`: the facts that are from memory.

    `folders` is where it usually lies, `inside` the first folder of its layout, which may be the folder that is found;
    `beside` names data sets whose folders may hold some of its files.
    """

    name: str = Field(pattern=r"^[a-z0-9_]+$")
    about: str
    homepage: str | None = None
    licence: Licence
    gated: Literal["none", "login", "form"] = "none"
    files: list[OfficialFile] = Field(min_length=1)
    counts: dict[str, int]
    folders: list[str] = []
    inside: str = ""
    beside: list[str] = []
    by_hand: list[str] = []
    notes: list[str] = []
    unverified: list[str] = []

    @model_validator(mode="after")
    def _says_how(self) -> DataCard:
        if not self.by_hand and any(file.url is None for file in self.files):
            raise ValueError("`by_hand` says how to bring the files that have no `url`")
        return self

    @property
    def bytes(self) -> int | None:
        """Of the files as distributed, as far as known; None where nothing is."""
        sizes = [file.bytes for file in self.files if file.bytes is not None]
        return sum(sizes) if sizes else None


@cache
def card_names() -> tuple[str, ...]:
    """The data sets that have a card."""
    folder = files("vltk.eval.datasets") / "cards"
    return tuple(sorted(path.name.removesuffix(".yaml") for path in folder.iterdir() if path.name.endswith(".yaml")))


@cache
def load_card(name: str) -> DataCard:
    """The card of that name. Raises VltkError where there is none."""
    if name not in card_names():
        raise VltkError(f"no official data set {name!r}{suggest(name, card_names())}")
    text = (files("vltk.eval.datasets") / "cards" / f"{name}.yaml").read_text(encoding="utf-8")
    try:
        return DataCard.model_validate({"name": name, **yaml.load(text, Loader=LOADER)})
    except ValidationError as error:
        told = [f"{name}: {'.'.join(map(str, one['loc'])) or 'card'}: {one['msg']}" for one in error.errors()]
        raise VltkError("\n".join(told)) from None
