"""What the user's files are: images (folder or tar), captions of images, lists of image names, or running text."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from vltk.data.image import ENDINGS as IMAGE_ENDINGS
from vltk.data.sources._captions import is_caption_header, read_captions
from vltk.data.sources._images import is_image_name
from vltk.data.sources.texts import ENDINGS as TEXT_ENDINGS
from vltk.errors import VltkError

Kind = Literal["pairs", "images", "texts"]
TABLES = {".csv", ".tsv", ".json", ".jsonl", ".ndjson"}
HEAD = 1 << 14  # bytes of a file that are looked at
LISTED = 5  # lines that all are image names make a list of them
CAPTIONED = re.compile(rf"[^\t,]+({'|'.join(map(re.escape, sorted(IMAGE_ENDINGS)))})(#\d+)?[\t,]", re.IGNORECASE)


@dataclass(frozen=True)
class Input:
    """What there is to shard: `source` holds the images (or texts), `captions` belong to them in pairs."""

    kind: Kind
    source: Path
    captions: Path | None = None


@dataclass
class _Holding:
    """The files of a folder by what they are, each list sorted."""

    pictures: list[Path] = field(default_factory=list)
    tars: list[Path] = field(default_factory=list)
    captions: list[Path] = field(default_factory=list)
    lists: list[Path] = field(default_factory=list)
    texts: list[Path] = field(default_factory=list)


def recognise(source: Path, name: str) -> Input:
    """What `source` is by its files. Raises VltkError with the commands to choose from where that is not certain.

    A folder with images, or one tar of them, and one caption file is pairs. `name` is the data set, for the commands.
    """
    if not source.exists():
        raise VltkError(f"{source} is not there: give a folder or tar of images, or text files")
    if source.is_dir():
        return _folder(source, name)
    found = _nature(source)
    if found == "captions":
        choices = [f"{source} {name} --images FOLDER_OR_TAR", f"{source} {name} --kind texts"]
        raise _unclear(f"{source} holds captions of images, and the images are not named", choices)
    if found == "list":
        choices = [f"IMAGES {name} --captions FILE --split-list {source}", f"{source} {name} --kind texts"]
        raise _unclear(f"{source} holds names of images: a split list, not running text", choices)
    if found is None and source.suffix.lower() in TABLES:
        choices = [f"IMAGES {name} --captions {source}", f"{source} {name} --kind texts"]
        raise _unclear(f"{source} is a table without columns of images and captions", choices)
    return Input("texts" if found == "text" else "images", source)


def image_place(source: Path) -> Path:
    """The folder itself where it holds images, else the only tar in it, if there is one."""
    tars = []
    for path in source.rglob("*") if source.is_dir() else ():
        if is_image_name(path.name):
            return source
        tars += [path] * (path.suffix.lower() == ".tar")
    return tars[0] if len(tars) == 1 else source


def _folder(source: Path, name: str) -> Input:
    held = _holding(source)
    places = ([source] if held.pictures else []) + held.tars
    if not places:
        return _folder_of_texts(source, name, held)
    if len(places) > 1:
        with_captions = f" --captions {held.captions[0]}" if held.captions else ""
        choices = [f"{place} {name}{with_captions or ' --kind images'}" for place in places]
        raise _unclear(f"{source} holds images in several places", choices)
    (place,) = places
    if held.captions:
        return Input("pairs", place, _one_of(held.captions, place, name))
    if held.texts:
        what = f"{source} holds images and {len(held.texts)} text files ({_some(held.texts)})"
        choices = [f"{place} {name} --captions FILE", f"{place} {name} --kind images", f"{source} {name} --kind texts"]
        raise _unclear(what, choices)
    return Input("images", place)


def _folder_of_texts(source: Path, name: str, held: _Holding) -> Input:
    """Running text and nothing else."""
    if held.captions or held.lists:
        what = "captions" if held.captions else "names"
        file = (held.captions or held.lists)[0]
        choices = [f"{file} {name} --images FOLDER_OR_TAR"] if held.captions else []
        choices.append(f"{source} {name} --kind texts")
        raise _unclear(f"{file} holds {what} of images, and there are no images in {source}", choices)
    if not held.texts:
        raise VltkError(f"{source}: neither images nor text files in it")
    return Input("texts", source)


def _one_of(captions: list[Path], place: Path, name: str) -> Path:
    """The caption file; where several say the same, a table rather than a token file."""
    first, *others = sorted(captions, key=lambda path: ("token" in path.name.lower(), path.name))
    if others:
        meant = _meaning(first)
        if any(_meaning(other) != meant for other in others):
            choices = [f"{place} {name} --captions {path}" for path in captions]
            raise _unclear(f"several caption files that say different things ({_some(captions)})", choices)
    return first


def _meaning(path: Path) -> Counter[tuple[str, str]]:
    return Counter((row.image, " ".join(row.caption.split())) for row in read_captions(path))


def _holding(source: Path) -> _Holding:
    held = _Holding()
    for path in sorted(source.rglob("*")):
        if not path.is_file() or path.name.startswith("."):
            continue
        if is_image_name(path.name):
            held.pictures.append(path)
        elif path.suffix.lower() == ".tar":
            held.tars.append(path)
        else:
            place = {"captions": held.captions, "list": held.lists, "text": held.texts}.get(_nature(path) or "")
            if place is not None:
                place.append(path)
    return held


def _nature(path: Path) -> Literal["captions", "list", "text"] | None:
    """What a file of text holds, by its first lines; None for all other files, and tables of something else."""
    ending = path.suffix.lower()
    if ending not in TABLES | TEXT_ENDINGS:
        return None
    with path.open("rb") as file:
        head = file.read(HEAD).decode("utf-8-sig", "replace")
    lines = [line.strip("\r") for line in head.split("\n") if line.strip()][:LISTED]
    if "caption" in path.stem.lower() or _captioned(path, lines):
        return "captions"
    if ending in TABLES:
        return None
    return "list" if lines and all(is_image_name(line.strip()) for line in lines) else "text"


def _captioned(path: Path, lines: list[str]) -> bool:
    if path.suffix.lower() in (".json", ".jsonl", ".ndjson"):
        try:
            return any(is_image_name(row.image) for row in read_captions(path))
        except VltkError:  # JSON of something else
            return False
    return bool(lines) and (is_caption_header(lines[0]) or bool(CAPTIONED.match(lines[0])))


def _some(paths: list[Path]) -> str:
    return ", ".join(path.name for path in paths[:4]) + (", ..." if len(paths) > 4 else "")


def _unclear(what: str, choices: list[str]) -> VltkError:
    commands = "".join(f"\n  vltk data shard {choice}" for choice in choices)
    return VltkError(f"{what}. Type {'one of' if len(choices) > 1 else 'what you mean'}:{commands}")
