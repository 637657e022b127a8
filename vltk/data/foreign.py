"""WebDataset tars of other tools (img2dataset, mirrors on the hub), indexed where they lie: no copies, no pickles.

Each tar is read once from start to end: its sha256 and the place of every member come of that. A sample is the members
of one key, in any order and anywhere in the tar; the key is the path up to the first dot of its base name, as
webdataset has it.
"""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

from vltk import __version__
from vltk.data.dataset import data_root, dataset_folder
from vltk.data.image import ENDINGS
from vltk.data.members import Scattered, texts_of
from vltk.data.remote import is_remote, opened
from vltk.data.shard import ABSENT, BLOCK, FORMAT, Manifest
from vltk.errors import VltkError

TEXTS = {"txt", "text", "caption"}
FIELDS = {**dict.fromkeys((ending[1:] for ending in ENDINGS), "image"), **dict.fromkeys(TEXTS, "text"), "json": "meta"}
LARGEST = 2**24  # bytes of a JSON


@dataclass
class _Found:
    """One sample: where its members lie, and its captions as far as they were seen."""

    key: str
    places: dict[str, tuple[int, int]] = field(default_factory=dict)  # field: offset of the body, size
    texts: int = 0

    def row(self) -> tuple[int | bool, ...]:
        image, text, meta = (self.places.get(name, (0, ABSENT)) for name in ("image", "text", "meta"))
        return (*image, *text, *meta, self.texts > 0)


def index(
    tars: Sequence[Path | str], name: str, replace: bool = False, tell: Callable[[str], None] = lambda what: None
) -> Manifest:
    """Make the data set `name` of these tars (paths or URLs), in their order: a manifest and an index a tar, no more.

    `tell` hears of each tar that is done. Raises VltkError, with every tar that is damaged or compressed, and then
    nothing is written.
    """
    folder = dataset_folder(name)
    _check(tars, folder, replace)
    shards, indexes, ignored, problems = list[dict[str, Any]](), list[bytes](), Counter[str](), list[str]()
    for tar in tars:
        try:
            entry, data, others = _indexed(tar, folder, len(shards))
        except (tarfile.TarError, OSError, VltkError) as error:
            problems.append(f"{tar}: {error}")
            continue
        shards.append(entry)
        indexes.append(data)
        ignored.update(others)
        tell(f"{tar}: {entry['samples']:,} samples")
    if problems:
        raise VltkError("nothing was written; mend these tars, or leave them out:\n  " + "\n  ".join(problems))
    manifest = _manifest(shards, ignored)
    _write(folder, indexes, manifest)
    return manifest


def tars_of(source: Path | str) -> list[Path | str]:
    """The tars of a folder, or those that a URL or path with braces names, `s3://b/{00000..00099}.tar`.

    Raises VltkError when there is none.
    """
    if is_remote(str(source)) or "{" in str(source):
        return [_path(one) for one in _braces(str(source))]
    source = Path(source)
    found: list[Path | str] = sorted(source.rglob("*.tar")) if source.is_dir() else [source]
    if not found:
        raise VltkError(f"{source}: no .tar in it")
    return found


def is_webdataset(source: Path | str) -> bool:
    """Whether these are tars of samples: a URL, or a tar or a folder of tars that look so and no images beside them."""
    if is_remote(str(source)):
        return True
    source = Path(source)
    if source.is_dir():
        if any(path.suffix.lower() in ENDINGS for path in source.rglob("*")):
            return False
        tars = sorted(source.rglob("*.tar"))
        return bool(tars) and looks_foreign(tars[0])
    return source.suffix == ".tar" and source.is_file() and looks_foreign(source)


def looks_foreign(tar: Path) -> bool:
    """Whether the first members of a tar are samples of several, as `key.jpg` with `key.txt` or `key.json`."""
    try:
        with tarfile.open(tar, "r:") as opened_tar:
            names = [member.name for _, member in zip(range(8), opened_tar, strict=False) if member.isreg()]
    except tarfile.TarError:
        return False
    kinds: dict[str, set[str]] = {}
    for key, ending in map(_split, names):
        kinds.setdefault(key, set()).add(FIELDS.get(ending, ""))
    return any("image" in found and found & {"text", "meta"} for found in kinds.values())


def _path(place: str) -> Path | str:
    return place if is_remote(place) else Path(place)


def _braces(pattern: str) -> Iterator[str]:
    """`a{00..02}b` to a00b, a01b, a02b. Raises VltkError for other braces."""
    head, brace, rest = pattern.partition("{")
    if not brace:
        yield pattern
        return
    span, closed, tail = rest.partition("}")
    first, dots, last = span.partition("..")
    if not (closed and dots and first.isdecimal() and last.isdecimal()) or int(first) > int(last):
        raise VltkError(f"{pattern}: braces hold a first and a last number, as {{00000..00099}}")
    for number in range(int(first), int(last) + 1):
        yield from _braces(f"{head}{number:0{len(first)}d}{tail}")


def _check(tars: Sequence[Path | str], folder: Path, replace: bool) -> None:
    if not tars:
        raise VltkError("no tars to index")
    if len({str(tar) for tar in tars}) < len(tars):
        raise VltkError("a tar is named twice")
    if any(folder.resolve() in Path(tar).resolve().parents for tar in tars if not is_remote(str(tar))):
        raise VltkError(f"the tars lie in {folder}, which would hold the data set: move them, or give another name")
    if (folder / "manifest.json").exists():
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        if not replace:
            raise VltkError(f"the data set {folder} exists already: delete it, give another name, or add --replace")
        if manifest.get("source", {}).get("kind") != "webdataset":
            raise VltkError(f"{folder} holds shards of its own, which --replace would lose here: delete it first")


def _indexed(tar: Path | str, folder: Path, number: int) -> tuple[dict[str, Any], bytes, Counter[str]]:
    """The manifest's entry of a tar, its index, and the endings of members that are of no use."""
    with opened(str(tar)) if is_remote(str(tar)) else Path(tar).open("rb") as file:
        stream = _Hashed(file)
        samples, ignored, end = _samples(stream)
        stream.drain()
    if not stream.ended:
        raise VltkError("it has no end mark, so it was cut: bring it again")
    if stream.content > end:
        raise VltkError("more data follows its end mark, as in tars that were joined: take them apart")
    if not samples:
        raise VltkError("no sample in it: no member ends in one of " + ", ".join(FIELDS))
    data = Scattered.pack([one.row() for one in samples], [_key_bytes(one.key) for one in samples])
    entry = {
        "file": _named(tar, folder),
        "index": f"shards/{number:05d}.idx",
        "layout": "members",
        "samples": len(samples),
        "images": sum("image" in one.places for one in samples),
        "texts": sum(one.texts for one in samples),
        "bytes": stream.size,
        "sha256": stream.sha.hexdigest(),
        "index_bytes": len(data),
        "index_sha256": hashlib.sha256(data).hexdigest(),
        "rows": len(samples),
        "statuses": {"ok": len(samples)},
    }
    return entry, data, ignored


def _samples(stream: _Hashed) -> tuple[list[_Found], Counter[str], int]:
    """The samples in the order of their first members, the endings of other members, and where the end mark stands.

    A key that comes again with a member it had is a new sample.
    """
    samples: list[_Found] = []
    open_: dict[str, _Found] = {}
    ignored: Counter[str] = Counter()
    with tarfile.open(fileobj=cast(IO[bytes], stream), mode="r|", bufsize=1 << 20) as tar:
        for member in tar:
            tar.members = []  # type: ignore[attr-defined]  # tarfile remembers all of them, which adds up
            key, ending = _split(member.name)
            kind = FIELDS.get(ending)
            if not member.isreg() or kind is None or member.size >= ABSENT or member.issparse():
                ignored[ending if member.isreg() else "not a file"] += not member.isdir()
                continue
            found = open_.get(key)
            if found is None or kind in found.places:
                found = open_[key] = _Found(key)
                samples.append(found)
            texts = _texts(tar, member, kind)
            if texts is None:
                ignored["json unreadable"] += 1
                continue
            found.places[kind] = (member.offset_data, member.size)
            found.texts = max(found.texts, texts)
        end = tar.offset
    useful = [one for one in samples if {"image", "text"} & one.places.keys() or one.texts]
    ignored["json alone"] += len(samples) - len(useful)
    return useful, ignored, end


def _texts(tar: tarfile.TarFile, member: tarfile.TarInfo, kind: str) -> int | None:
    """How many texts a member gives; None for a JSON that is no object."""
    if kind != "meta":
        return int(kind == "text")
    body = tar.extractfile(member)
    try:
        facts = json.loads(body.read()) if body is not None and member.size <= LARGEST else None
    except ValueError:
        return None
    return len(texts_of(None, facts)) if isinstance(facts, dict) else None


def _split(name: str) -> tuple[str, str]:
    """Key and ending, cut at the first dot of the base name; of `x.y.jpg` the ending is jpg."""
    folder, slash, base = name.removeprefix("./").rpartition("/")
    key, _, endings = base.partition(".")
    return f"{folder}{slash}{key}", endings.lower().rpartition(".")[2]


def _key_bytes(key: str) -> bytes:
    return key.encode("utf-8", "surrogateescape")


def _named(tar: Path | str, folder: Path) -> str:
    """As the manifest names it: below the data root by the way from the data set's folder, so that both can move."""
    if is_remote(str(tar)):
        return str(tar)
    path = Path(tar).resolve()
    inside = data_root().resolve() in path.parents
    return os.path.relpath(path, folder.resolve()) if inside else str(path)


class _Hashed:
    """A file that is read once, with the hash and the size of what was read, and whether it ends as a tar does.

    `content` is where the zeros at its end begin.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.sha, self.size, self.last, self.content = file, hashlib.sha256(), 0, b"", 0

    def read(self, size: int) -> bytes:
        data = self.file.read(size)
        self.sha.update(data)
        filled = len(data.rstrip(b"\0"))
        self.content = self.size + filled if filled else self.content
        self.size += len(data)
        self.last = (self.last + data)[-2 * BLOCK :]
        return data

    def drain(self) -> None:
        while self.read(1 << 20):
            pass

    @property
    def ended(self) -> bool:
        return self.last == bytes(2 * BLOCK) and self.size % BLOCK == 0


def _manifest(shards: list[dict[str, Any]], ignored: Counter[str]) -> Manifest:
    totals = {name: sum(entry[name] for entry in shards) for name in ("samples", "images", "texts", "rows")}
    source = {
        "kind": "webdataset",
        "ignored": {ending or "no ending": count for ending, count in ignored.items() if count},
    }
    return Manifest(
        **totals,
        shards=shards,
        statuses={"ok": totals["samples"]},
        source=source,
        tools={"vltk": __version__},
        format=FORMAT,
    )


def _write(folder: Path, indexes: list[bytes], manifest: Manifest) -> None:
    """The manifest goes first and comes last: a data set exists when it does."""
    (folder / "shards").mkdir(parents=True, exist_ok=True)
    for name in ("manifest.json", "skip.parquet"):
        (folder / name).unlink(missing_ok=True)
    for old in (folder / "shards").glob("*.idx"):
        old.unlink()
    for number, data in enumerate(indexes):
        _put(folder / "shards" / f"{number:05d}.idx", data)
    _put(folder / "manifest.json", manifest.to_json().encode())


def _put(path: Path, data: bytes) -> None:
    part = path.with_name(f"{path.name}.part")
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
