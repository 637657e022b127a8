"""From finished shards to a data set: the manifest, and the move into place that ends with it."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from vltk import __version__
from vltk.data.lock import locked
from vltk.errors import VltkError
from vltk.whole import sync

FORMAT = 2  # of the folder; larger ones are refused; 1 has no `rows`, `tools`, counts by shard, and fewer row columns
PARTS = ("shards", "rows", "decisions", "quarantine")
OWNED = (*PARTS, "tokens", "skip.parquet", "codes")  # goes with a replaced data set, as TOKENIZERS of one of tokens
TOKENIZERS = ("tokenizer.json", "vocab.txt")
WORK = (".part", ".fetch", ".tokens", ".codes", ".capfilt")  # folders of writers, locked while they are at work
LEAVING = ".replaced.json"  # the manifest of a data set that is being replaced
TOOLS = {"pyarrow": "pyarrow", "opencv": "opencv-python-headless", "simplejpeg": "simplejpeg"}


@dataclass(frozen=True)
class Manifest:
    """What `manifest.json` says: totals, one entry a shard, how many input rows ended in which status, the source."""

    samples: int
    images: int
    texts: int
    shards: list[dict[str, Any]]
    statuses: dict[str, int]
    source: dict[str, Any]
    rows: int = 0
    tools: dict[str, str] = field(default_factory=dict)
    format: int = 1

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def publish(
    part_folder: Path, folder: Path, entries: list[dict[str, Any]], source: dict[str, Any], replace: bool = False
) -> Manifest:
    """Write the manifest of finished shards (`ShardWriter.close`) and move everything to `folder`, the manifest last.

    Killed at any moment, the same call again completes it. Raises VltkError when no shard has a sample, or a data set
    stands there already and not `replace`.
    """
    manifest = _manifest(entries, source)
    if _stands(folder, manifest):
        return manifest  # by a call that was killed after its last move
    if (folder / "manifest.json").exists() and not replace:
        raise VltkError(f"the data set {folder} exists already: delete it, give another name, or add --replace")
    if not manifest.samples:
        lost = ", ".join(f"{count} {status}" for status, count in manifest.statuses.items())
        raise VltkError(f"no usable sample: {lost or 'the input is empty'}")
    _check(part_folder, folder, entries)
    written = part_folder / "manifest.json.part"
    written.write_text(manifest.to_json(), encoding="utf-8")
    sync(written)
    folder.mkdir(parents=True, exist_ok=True)
    _clear(folder)
    for name in PARTS:
        _move(part_folder / name, folder / name)
    written.rename(folder / "manifest.json")
    sync(folder)
    return manifest


def _manifest(entries: list[dict[str, Any]], source: dict[str, Any]) -> Manifest:
    totals = {name: sum(entry[name] for entry in entries) for name in ("samples", "images", "texts", "rows")}
    statuses: Counter[str] = Counter()
    for entry in entries:
        statuses.update(entry["statuses"])
    packages = TOOLS | ({"img2dataset": "img2dataset"} if source.get("kind") == "urls" else {})
    tools = {"vltk": __version__} | {name: version(package) for name, package in packages.items()}
    return Manifest(
        **totals, shards=entries, statuses=dict(sorted(statuses.items())), source=source, tools=tools, format=FORMAT
    )


def _stands(folder: Path, manifest: Manifest) -> bool:
    """Whether exactly this data set is there already."""
    path = folder / "manifest.json"
    return path.exists() and path.read_text(encoding="utf-8") == manifest.to_json()


def _check(part_folder: Path, folder: Path, entries: list[dict[str, Any]]) -> None:
    """Every shard is whole, here or moved already; files of no entry (of a shard that was begun) are removed."""
    for name in ("shards", "rows"):
        place = part_folder / name if (part_folder / name).exists() else folder / name
        for entry in entries:
            path = place / Path(entry["file"]).with_suffix(".parquet" if name == "rows" else ".tar").name
            if not path.exists() or name == "shards" and path.stat().st_size != entry["bytes"]:
                raise VltkError(f"{path} is gone or was changed since it was written: the shard has to be made again")
    known = {Path(entry["file"]).stem for entry in entries}
    for path in [*part_folder.glob("shards/*"), *part_folder.glob("rows/*")]:
        if path.stem not in known or path.suffix == ".part":
            path.unlink()


def _clear(folder: Path) -> None:
    """Remove the data set that is to be replaced; its manifest goes first, and comes to mind again after a kill."""
    leaving = folder / LEAVING
    if (folder / "manifest.json").exists():
        (folder / "manifest.json").rename(leaving)
    if leaving.exists():
        for path in owned(folder):
            _remove(path)
        leaving.unlink()


def owned(folder: Path) -> list[Path]:
    """What belongs to the data set in a folder, there or not, but for its manifest and the work of writers.

    A tokenizer's file is the data set's own copy where it holds tokens, and of the user elsewhere.
    """
    tokenizers = TOKENIZERS if (folder / "tokens").exists() else ()  # first: they are known by the tokens
    return [folder / name for name in (*tokenizers, *OWNED)]


def _move(part: Path, path: Path) -> None:
    if part.exists():
        _remove(path)  # of a writer that was killed
        part.rename(path)
        sync(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def working_folder(folder: Path) -> Iterator[Path]:
    """The locked folder `.part`, emptied first and removed at the end; after a failure new parents go too.

    Raises VltkError while another process has it.
    """
    created = [path for path in (folder, *folder.parents) if not path.exists()]
    part = folder / ".part"
    with locked(part):
        for left in part.iterdir():  # of a writer that was killed
            _remove(left)
        try:
            yield part
        finally:
            shutil.rmtree(part)
            for path in created:
                if not any(path.iterdir()):
                    path.rmdir()
