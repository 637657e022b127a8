"""Where official data sets lie: the folder of one, found by its files, and what is there of it. Nothing is unpacked,
and no large archive opened: it is asked by name."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path, PurePosixPath
from typing import Literal

from vltk.data.dataset import data_root
from vltk.errors import Missing, VltkError
from vltk.eval.datasets._archives import members
from vltk.eval.datasets._card import DataCard, OfficialFile, load_card
from vltk.eval.datasets._files import STATUS, Files

HOME = "eval"  # below the data root
SMALL = 1 << 30  # bytes of an archive of another name than the official one, that is looked into
NOTHING = (0, 0)  # files in place, files of which there is something
State = Literal["there", "part", "packed", "absent"]


@dataclass(frozen=True)
class FileState:
    """One file of a card: in place, in place without `lacks`, downloaded to `path` and still packed, or absent."""

    file: OfficialFile
    state: State
    path: Path | None = None
    lacks: tuple[str, ...] = ()

    @property
    def missing(self) -> list[str]:
        """What is not in place: paths of the layout where some are there, else the file as it is distributed."""
        return [] if self.state == "there" else [*self.lacks] or [self.file.name]


@dataclass(frozen=True)
class Place:
    """A folder that may hold a data set; where it is `shared` by several, only some of its entries are looked at."""

    root: Path
    inside: str
    only: tuple[str, ...] = ()

    @property
    def shared(self) -> bool:
        return bool(self.only)

    @property
    def entries(self) -> tuple[str, ...]:
        """The entries that are read: where it is shared, also archives of any name with such a folder in them."""
        if not self.shared:
            return ()
        tops = {archive: {name.partition("/")[0] for name in _content(archive)[0]} for archive in self._small}
        return (*self.only, *(archive.name for archive, found in tops.items() if found & {*self.only}))

    def has(self, path: str) -> bool:
        """Whether a file or folder of the official layout is there: unpacked, or in a small archive of any name."""
        return any((self.root / way).exists() or way in self._packed for way in self._ways(path))

    @property
    def damaged(self) -> dict[Path, str]:
        """The small archives that are read here and cannot be, and what is wrong with them."""
        found = {
            archive: _content(archive)[1] for archive in self._small if not self.shared or archive.name in self.only
        }
        return {archive: wrong for archive, wrong in found.items() if wrong is not None}

    def named(self, name: str) -> Path | None:
        """An archive or file of that name."""
        return next((self.root / way for way in self._ways(name) if (self.root / way).is_file()), None)

    def _ways(self, path: str) -> Iterator[str]:
        """As it is, without the folder that this one may be, and one folder deeper."""
        yield path
        if self.inside and path.startswith(f"{self.inside}/") and (not self.shared or self.root.name == self.inside):
            yield path.removeprefix(f"{self.inside}/")
        if not self.shared:
            yield from (f"{top}/{path}" for top in self._tops)

    @cached_property
    def _tops(self) -> list[str]:
        folders = [path.name for path in self.root.iterdir() if path.is_dir()]
        packed = {name.partition("/")[0] for name in self._packed if "/" in name}
        return sorted({*folders, *packed})

    @cached_property
    def _packed(self) -> frozenset[str]:
        """The files and folders in small archives, in this folder and one below."""
        found: set[str] = set()
        for archive in self._small:
            below = archive.parent.relative_to(self.root)
            found |= {(below / name).as_posix() for name in _content(archive)[0]}
        return frozenset(found)

    @cached_property
    def _small(self) -> list[Path]:
        depths = ("*",) if self.shared else ("*", "*/*")
        archives = [path for depth in depths for end in (".tar", ".zip") for path in self.root.glob(depth + end)]
        return sorted(path for path in archives if path.stat().st_size <= SMALL)


@dataclass(frozen=True)
class Survey:
    """What there is of a data set: where most of it lies (None: nowhere), each of its files, the folders looked into,
    the other folders that some of it lies in, and what is wrong with archives that would be read."""

    card: DataCard
    place: Place | None
    files: list[FileState]
    looked: list[Path]
    beside: tuple[Place, ...] = ()
    damaged: Mapping[Path, str] = field(default_factory=dict)

    @property
    def root(self) -> Path | None:
        return None if self.place is None else self.place.root

    @property
    def state(self) -> Literal["ready", "partial", "absent"]:
        states = {one.state for one in self.files}
        if self.damaged:
            return "partial"
        if states == {"there"}:
            return "ready"
        return "absent" if states == {"absent"} else "partial"


def homes(data: Path | None) -> list[Path]:
    """The folders that hold data sets: `data`, or `eval` in the data root, and the data root itself."""
    return [data] if data is not None else [data_root() / HOME, data_root()]


def own_folder(card: DataCard, data: Path | None) -> Path:
    """Where the files of a data set that is nowhere yet are put."""
    return homes(data)[0] / card.name


def survey(name: str, data: Path | None = None) -> Survey:
    """What there is of the data set `name`: in the folder with most of its files (the first one at a draw), and what
    that one lacks in its other folders, and in those of the data sets that share files with it."""
    card = load_card(name)
    own = _places(card, data)
    shared = [place for other in card.beside for place in _places(load_card(other), data)]
    alone = [(place, [_state(file, place) for file in card.files]) for place in own if place.root.is_dir()]
    nothing = [FileState(file, "absent") for file in card.files]
    place, files = max(alone, key=lambda one: _progress(one[1]), default=(None, nothing))
    if _progress(files) == NOTHING:
        place = None
    others = [other for other in (*own, *shared) if other is not place and other.root.is_dir()]
    found = [(one, None) if one.state == "there" else _elsewhere(one, others) for one in files]
    beside = dict.fromkeys(other for _, other in found if other is not None)
    read = [one for one, _ in alone] if place is None else [place, *beside]
    damaged = {archive: wrong for one in read for archive, wrong in one.damaged.items()}
    return Survey(card, place, [one for one, _ in found], [one.root for one in own], tuple(beside), damaged)


def find(name: str, data: Path | None = None) -> Files:
    """The files of the data set `name`. Raises Missing, with where was looked and what to do, where none is there, and
    VltkError where an archive is damaged."""
    found = survey(name, data)
    if found.damaged:
        raise VltkError("\n".join(found.damaged.values()))
    if found.state == "absent":
        looked = ", ".join(map(str, found.looked))
        raise Missing(f"the data set {name} is not there (looked in {looked}); missing:", steps(found, data))
    place = found.place or Place(own_folder(found.card, data), found.card.inside)
    beside = [Files(other.root, other.inside, other.entries) for other in found.beside]
    return Files(place.root, place.inside, place.entries, command(found, data), beside)


def steps(found: Survey, data: Path | None) -> list[tuple[str, str]]:
    """What is not in place, and what to type or do, in order."""
    told = [(wrong, f"rm {shlex.quote(str(path))}") for path, wrong in found.damaged.items()]
    for one in found.files:
        if one.state == "packed" and one.path is not None:
            told.append((f"{one.path.name} has to be unpacked once", unpacking(one.file, one.path)))
    absent = [one for one in found.files if one.state in ("absent", "part")]
    if names := [name for one in absent if one.file.url for name in one.missing]:
        told.append((", ".join(names), command(found, data)))
    if names := [name for one in absent if not one.file.url for name in one.missing]:
        folder = found.root or own_folder(found.card, data)
        told.append((", ".join(names), "; ".join(by_hand(found.card, folder))))
    return told


def by_hand(card: DataCard, folder: Path) -> list[str]:
    """What a person does, in order, for the files that have no open address."""
    return [step.replace("{folder}", str(folder)) for step in card.by_hand]


def command(found: Survey, data: Path | None) -> str:
    """What to type for files that can be downloaded; else what tells more."""
    option = f" --data {shlex.quote(str(data))}" if data is not None else ""
    if any(one.state in ("absent", "part") and one.file.url for one in found.files):
        return f"vltk eval --fetch {found.card.name}{option}"
    return STATUS + option


def unpacking(file: OfficialFile, path: Path) -> str:
    """What to type so that a downloaded file is in place."""
    if file.unpack is not None:
        return f"cd {shlex.quote(str(path.parent))} && {file.unpack}"
    if file.inner is not None:
        return f"cd {shlex.quote(str(path.parent))} && unzip {path.name} && gunzip */{file.inner}"
    return f"gunzip {shlex.quote(str(path))}"


@cache
def _content(archive: Path) -> tuple[frozenset[str], str | None]:
    """The names of its files, and of the folders that they lie in; none, and what is wrong, where it is damaged."""
    try:
        names = members(archive)
    except VltkError as error:
        return frozenset(), str(error)
    folders = {parent.as_posix() for name in names for parent in PurePosixPath(name).parents}
    return frozenset({*names, *folders}), None


def _places(card: DataCard, data: Path | None) -> list[Place]:
    """Where a data set may lie: under its names in each home, then among the entries of the home itself."""
    found = []
    for home in homes(data):
        names = dict.fromkeys([card.name, *card.folders])
        found += [Place(home / name, card.inside) for name in names]
        found.append(Place(home, card.inside, _entries(card)))
    return found


def _entries(card: DataCard) -> tuple[str, ...]:
    """What of the data set stands at the top of a folder: its archives, and the first folders of its layout."""
    archives = [name for file in card.files for name in (file.name, file.in_place) if name]
    held = [path for file in card.files for path in (*file.holds, *file.or_holds)]
    inner = [path.removeprefix(f"{card.inside}/") for path in (*archives, *held)] if card.inside else []
    return tuple(dict.fromkeys(path.partition("/")[0] for path in (*archives, *held, *inner)))


def _state(file: OfficialFile, place: Place) -> FileState:
    own = None if file.in_place is None else place.named(file.in_place)
    lacks = _lacks(file, place)
    if own is not None or not lacks:
        return FileState(file, "there", own)
    if (path := place.named(file.name)) is not None:
        return FileState(file, "packed", path)
    some = len(lacks) < len(file.holds)
    return FileState(file, "part", lacks=lacks) if some else FileState(file, "absent")


def _elsewhere(one: FileState, others: list[Place]) -> tuple[FileState, Place | None]:
    """The same file in the first of the other places that has it; as it was where none does."""
    for place in others:
        there = _state(one.file, place)
        if there.state == "there":
            return there, place
    return one, None


def _lacks(file: OfficialFile, place: Place) -> tuple[str, ...]:
    """What it holds and is not there; a file that holds nothing else lacks itself."""
    if file.or_holds and all(place.has(path) for path in file.or_holds):
        return ()
    return tuple(path for path in file.holds if not place.has(path)) if file.holds else (file.name,)


def _progress(files: list[FileState]) -> tuple[int, int]:
    states = [one.state for one in files]
    return states.count("there"), len(states) - states.count("absent")
