"""What a card may say: the facts of a data set, and the ways to get it (`fetchers`), the first one first."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from vltk.data.fetch.form import Layout
from vltk.errors import VltkError

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Facts(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Licence(Facts):
    id: str
    url: str | None = None
    needs_accept: bool = False


class Count(Facts):
    """A published number of samples; `verified` is false when it was not checked against its source."""

    published: int
    verified: bool
    source: str


class Yield(Facts):
    """The share of the listed addresses that still gave an image, when, and who counted."""

    rate: float = Field(gt=0, le=1)
    date: str
    source: str


class Size(Facts):
    """Bytes: `download` of the files of the first fetcher, `bytes_per_sample` stored at a short side of 256 pixels."""

    download: int | None = None
    bytes_per_sample: int = 24_000  # an estimate: photos of a short side of 256 at quality 90


class Filter(Facts):
    """Which rows of a list are wanted: columns with one of these values, captions of at least so many words."""

    where: dict[str, str | list[str]] = {}
    lang: str | None = None
    min_words: int = 0


class Step(Facts):
    """Something to bring, and the command that turns it into the data set."""

    what: str
    command: str


class RemoteFile(Facts):
    """A file to download: http(s), `hf://datasets/OWNER/NAME/PATH` (may hold * and ?), or a path of this machine."""

    url: str
    sha256: Sha256 | None = None
    bytes: int | None = None
    name: str | None = None

    @property
    def filename(self) -> str:
        """The name below the download folder. Raises VltkError where the URL ends in none and the card gives none."""
        name = self.name or self.url.partition("?")[0].partition("#")[0].rpartition("/")[2]
        if name in ("", ".", ".."):
            raise VltkError(f"{self.url}: no file name at its end: give one in the card, `name: list.tsv`")
        return name

    @field_validator("name")
    @classmethod
    def _plain(cls, name: str | None) -> str | None:
        if name is not None and ("/" in name or name in ("", ".", "..")):
            raise ValueError("a plain file name, without folders")
        return name


class Generated(Facts):
    """Drawn by vltk itself: `generator` is a module of `vltk.data.sources`."""

    kind: Literal["generated"]
    generator: str


class Mirror(Facts):
    """A frozen copy as WebDataset tars: members of one key are a sample (image, `txt`, `json`)."""

    kind: Literal["mirror"]
    files: list[RemoteFile]
    caption: list[str] = ["txt"]  # endings, or keys of the json member (`json:caption`); the first filled one is taken
    about: str = ""


class Hub(Facts):
    """A Hugging Face data set as parquet with the image bytes, or the text, in a column."""

    kind: Literal["hub"]
    files: list[RemoteFile]
    image: str | None = None
    captions: list[str] = []  # columns; each a text, or a list of texts
    text: str | None = None  # of documents
    meta: list[str] = []  # columns kept as labels
    filter: Filter = Filter()
    about: str = ""


class UrlList(Facts):
    """Lists of addresses with captions. `columns` names the columns in order where the files have no header line.

    `unpack` names what is taken out of the files, which are archives then (`*.json`); `reader` a module of
    `vltk.data.sources` that turns files of another form (RedCaps) into parquet with the columns `url` and `caption`.
    Both are done by `vltk.data.fetch.listed.bring_list`.
    """

    kind: Literal["urls"]
    files: list[RemoteFile]
    form: Layout
    header: bool = True
    columns: list[str] = []
    url: str = "url"
    caption: list[str] = ["caption"]  # the first one that is filled
    quoted: bool = False  # quotes are marks of the file, and may hold line ends, as in CSV
    encoding: str | None = None  # none: UTF-8, odd bytes one by one
    unpack: str | None = None
    reader: str | None = None
    filter: Filter = Filter()
    user_agent_contact: bool = False  # the server asks for a way to reach whoever downloads
    about: str = ""

    @model_validator(mode="after")
    def _has_columns(self) -> UrlList:
        if not self.header and not self.columns:
            raise ValueError("`header: false` needs `columns`, the names of the columns in their order")
        known = set(self.columns)
        if known and (lost := {self.url, *self.caption, *self.filter.where} - known):
            raise ValueError(f"not among `columns`: {', '.join(sorted(lost))}")
        return self


class Archives(Facts):
    """Zip and tar files to download and unpack, then one reader of `vltk.data.sources` that joins them to samples.

    `parts` maps what stands behind `NAME/` (empty: NAME itself) to the options of the reader.
    """

    kind: Literal["archives"]
    files: list[RemoteFile]
    reader: str
    parts: dict[str, dict[str, Any]] = {"": {}}
    about: str = ""


class Local(Facts):
    """By hand: what to bring, numbered, each with its command."""

    kind: Literal["local"]
    bring: list[Step] = Field(min_length=1)


Fetcher = Annotated[Generated | Mirror | Hub | UrlList | Archives | Local, Field(discriminator="kind")]


class Card(Facts):
    """One data set. `unverified` lists the facts that are from memory."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
    about: str
    modality: Literal["image_text", "image", "text"]
    licence: Licence
    fetchers: list[Fetcher] = Field(min_length=1)
    homepage: str | None = None
    samples: Count | None = None
    expected: Yield | None = Field(default=None, alias="yield")
    size: Size = Size()
    citation: str | None = None
    notes: list[str] = []
    unverified: list[str] = []

    @property
    def kind(self) -> Literal["shapes", "download", "local"]:
        """`shapes`: generated by vltk; `download`: vltk can fetch it; `local`: the user brings it."""
        kinds = [fetcher.kind for fetcher in self.fetchers]
        return "shapes" if "generated" in kinds else "local" if set(kinds) == {"local"} else "download"

    @property
    def bring(self) -> list[Step]:
        """What to bring by hand."""
        return [step for fetcher in self.fetchers if isinstance(fetcher, Local) for step in fetcher.bring]
