"""The files that a card names, as files on this machine: http(s), the hub, or a path."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from vltk.data.card_schema import RemoteFile
from vltk.data.fetch import hub
from vltk.data.fetch.download import download
from vltk.data.fetch.policy import Policy
from vltk.data.hashes import file_sha256
from vltk.errors import VltkError

RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")


@dataclass(frozen=True)
class Source:
    """One file: what it is called in messages and states, and how to have it here; what was downloaded lies at `place`.

    A file of this machine has no `place`, and is never removed.
    """

    name: str
    bring: Callable[[], Path]
    place: Path | None = None
    bytes: int | None = None

    def remove(self) -> None:
        """The downloaded file is not needed any more."""
        if self.place is not None:
            self.place.unlink(missing_ok=True)


def sources(
    files: Iterable[RemoteFile], folder: Path, policy: Policy, commits: Mapping[str, str] | None = None
) -> list[Source]:
    """Each single file, with `{0000..0009}` and patterns of the hub resolved; nothing is downloaded yet.

    `commits` of data sets of the hub are taken where the card names none (default: the newest).
    Raises VltkError for a path that is not there, and what the hub says.
    """
    found = [source for file in files for one in _ranged(file) for source in _sources(one, folder, policy, commits)]
    names = [source.name for source in found]
    if twice := {name for name in names if names.count(name) > 1}:
        raise VltkError(f"the card names a file twice: {', '.join(sorted(twice))}; give one of them another `name`")
    return found


def bring(files: Iterable[RemoteFile], folder: Path, policy: Policy) -> list[Path]:
    """All the files, downloaded below `folder` (a path of this machine stays where it is)."""
    return [source.bring() for source in sources(files, folder, policy)]


def _ranged(file: RemoteFile) -> Iterator[RemoteFile]:
    """`a-{000..002}.tar` as three files."""
    span = RANGE.search(file.url)
    if span is None:
        yield file
        return
    for number in range(int(span[1]), int(span[2]) + 1):
        url = f"{file.url[: span.start()]}{number:0{len(span[1])}d}{file.url[span.end() :]}"
        yield from _ranged(file.model_copy(update={"url": url}))


def _sources(file: RemoteFile, folder: Path, policy: Policy, commits: Mapping[str, str] | None) -> Iterator[Source]:
    scheme = file.url.partition("://")[0].lower() if "://" in file.url else ""
    if scheme == "hf":
        for one in hub.find(file.url, commits):
            yield Source(one.url, lambda one=one: hub.bring(one, folder), folder / one.path, one.bytes)  # type: ignore[misc]
    elif scheme in ("http", "https"):
        place = folder / file.filename
        yield Source(file.filename, lambda: download(file, folder, policy), place, file.bytes)
    elif scheme:
        raise VltkError(f"{file.url}: http, https, hf:// and paths are known, not {scheme}://")
    else:
        yield _here(file)


def _here(file: RemoteFile) -> Source:
    path = Path(file.url)
    if not path.is_file():
        raise VltkError(f"{path} is not there (a file that the card names)")
    if file.sha256 is not None and file_sha256(path) != file.sha256:
        raise VltkError(f"{path}: another sha256 than the card says")
    return Source(path.name, lambda: path, None, path.stat().st_size)
