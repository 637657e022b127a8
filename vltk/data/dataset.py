"""Reading a data set by position: one `pread` a sample through the binary index, safe from many threads.

A data set NAME is the folder NAME below the data root (`$VLTK_DATA`, or `./data`), as `vltk.data.shard` writes it, or
a URL (s3://, gs://, https://). Its shards may lie elsewhere, as tars of others or as URLs (`vltk.data.foreign`).
"""

from __future__ import annotations

import hashlib
import json
import os
from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from vltk.data.members import Misfit, Sample
from vltk.data.publish import FORMAT
from vltk.data.remote import is_remote
from vltk.data.store import Absent, Damaged, Store
from vltk.errors import Missing, VltkError

__all__ = ["Dataset", "Sample", "data_root", "dataset_folder", "dataset_names", "is_on_disk", "open_dataset"]


def data_root() -> Path:
    """Where data sets lie: `$VLTK_DATA`, or `data` in the working folder."""
    return Path(os.environ.get("VLTK_DATA") or "data")


def dataset_folder(name: str) -> Path:
    return data_root() / name


def dataset_names() -> list[str]:
    """The data sets on disk, by name; those behind links too."""
    root = data_root()
    return sorted(str(path.relative_to(root)) for path in _folders(root, ()) if (path / "manifest.json").exists())


def _folders(folder: Path, above: tuple[Path, ...]) -> Iterator[Path]:
    """All folders below but hidden ones, and but those that a link leads back to: there would be no end."""
    try:
        names = sorted(one.name for one in os.scandir(folder) if one.is_dir() and not one.name.startswith("."))
    except OSError:  # that may not be read, or is gone
        return
    above = (*above, folder.resolve())
    for path in (folder / name for name in names):
        if path.resolve() not in above:
            yield path
            yield from _folders(path, above)


def is_on_disk(name: str) -> bool:
    """Whether the data set can be opened without bringing it first; of a URL that is not looked up."""
    return is_remote(name) or (dataset_folder(name) / "manifest.json").exists()


def open_dataset(name: str, skips: bool = True) -> Dataset:
    """The data set of that name or URL, without the samples of its skip list unless `skips` is False.

    Raises Missing (what to type) when it is absent, VltkError when a file is damaged or a newer vltk wrote it.
    """
    if is_remote(name):
        from vltk.data.mirror import mirrored

        return _opened(name, mirrored(name), name, skips)
    folder = dataset_folder(name)
    if not (folder / "manifest.json").exists():
        from vltk.data.card import steps_for

        raise Missing(f"the data set {name!r} is not on disk (looked in {folder})", steps_for(name))
    return _opened(name, folder, None, skips)


def _opened(name: str, folder: Path, base: str | None, skips: bool) -> Dataset:
    manifest = read_manifest(folder, name)
    if manifest.get("kind") == "tokens":
        from vltk.data.tokens import open_tokens

        tokens: Dataset = open_tokens(name, folder, manifest)  # has the surface of Dataset
        return tokens
    return Dataset(name, folder, manifest, base, skips)


class Dataset:
    """A finished data set: `len(ds)`, `ds.read(i)`. Positions leave out the samples of its skip list.

    `shard_sizes` are the samples of each shard, `digest` stands for the content and the skip list. `base` is the URL
    of a data set whose manifest was brought to `folder`.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        manifest: dict[str, Any] | None = None,
        base: str | None = None,
        skips: bool = True,
    ) -> None:
        self.name, self.folder = name, folder
        self.manifest = read_manifest(folder, name) if manifest is None else manifest
        try:
            self.store = Store(folder, self.manifest["shards"], base)
        except Damaged as error:
            raise damaged(error.path, name, str(error)) from None
        self._raw_starts = [0, *accumulate(shard["samples"] for shard in self.manifest["shards"])]
        self._skipped = _skip_list(folder) if skips else np.empty(0, np.int64)
        self._shift = self._skipped - np.arange(len(self._skipped))  # kept samples before each skipped one
        cuts = np.array(self._raw_starts) - np.searchsorted(self._skipped, self._raw_starts)
        self.shard_sizes: list[int] = np.diff(cuts).tolist()
        self._length = int(cuts[-1])
        self.digest = self._digest()

    def __len__(self) -> int:
        return self._length

    def _digest(self) -> str:
        content = json.dumps([[shard["samples"], shard["sha256"]] for shard in self.manifest["shards"]])
        digest = hashlib.sha256(content.encode())
        digest.update(self._skipped.astype("<i8").tobytes())
        return digest.hexdigest()

    @property
    def has_images(self) -> bool:
        """Every sample has an image."""
        return bool(self.manifest["images"] == self._raw_starts[-1])

    @property
    def has_texts(self) -> bool:
        """Every sample has a text."""
        filled = [number for number, entry in enumerate(self.manifest["shards"]) if entry["samples"]]
        for shard in filled:
            try:
                if not self.store.index(shard).has_texts():
                    return False
            except (Damaged, Absent) as error:
                raise self._worded(error, shard) from error
        return True

    def read(self, position: int) -> Sample:
        """The sample at `position`, 0 to len - 1. Raises VltkError when the tar does not hold what the index says."""
        if not 0 <= position < self._length:
            raise IndexError(f"position {position} of {self._length} in {self.name}")
        raw = self.raw(position)
        shard = bisect_right(self._raw_starts, raw) - 1
        try:
            return self.store.sample(shard, raw - self._raw_starts[shard])
        except (Misfit, Damaged, Absent) as error:
            raise self._worded(error, shard, f"sample {raw} ") from error

    def raw(self, position: int) -> int:
        """The position that counts skipped samples too: the n-th sample of the shards."""
        if not len(self._shift):
            return position
        return position + int(np.searchsorted(self._shift, position, side="right"))

    def _worded(self, error: Misfit | Damaged | Absent, shard: int, what: str = "") -> VltkError:
        if isinstance(error, Misfit):
            return damaged(self.store.place(shard), self.name, f"{what}{error}")
        if isinstance(error, Damaged):
            return damaged(error.path, self.name, str(error))
        return VltkError(f"data set {self.name}: {error}")


def read_manifest(folder: Path, name: str) -> dict[str, Any]:
    """The manifest in a data set's folder. Raises VltkError when it is none, or of a newer vltk."""
    path = folder / "manifest.json"
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        number = int(manifest.get("format", 1))
        if manifest.get("kind") != "tokens":
            manifest["shards"], manifest["images"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise damaged(path, name, f"no manifest of a data set ({error})") from None
    if number > FORMAT:
        from vltk import __version__

        raise VltkError(
            f"{path}: written by a newer vltk (format {number}; vltk {__version__} reads up to {FORMAT}): "
            "pip install --upgrade vltk"
        )
    return manifest


def _skip_list(folder: Path) -> np.ndarray:
    if not (folder / "skip.parquet").exists():
        return np.empty(0, np.int64)
    from vltk.data.skip import read

    return np.unique(read(folder))


def damaged(path: Path | str, name: str, what: str) -> VltkError:
    """The error for a file that is not as its manifest says, with the commands that make the data set again."""
    if is_remote(name) or is_remote(str(path)):
        return VltkError(f"{path}: {what}\nThe data set {name!r} has to be uploaded again.")
    again = "\n".join(f"  {step}:\n  {command} --replace" for step, command in remedies(name))
    return VltkError(f"{path}: {what}\nThe data set {name!r} has to be made again:\n{again}")


def remedies(name: str) -> list[tuple[str, str]]:
    """What to bring and what to type so that a data set on disk is made once more; as it was fetched, if it was."""
    from vltk.data.card import card_names, fetch_command, load_card, steps_for

    try:
        source = json.loads((dataset_folder(name) / "manifest.json").read_text(encoding="utf-8"))["source"]
        kind, card, part = source.get("kind"), source.get("card"), source.get("part")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return steps_for(name)  # the manifest is what is damaged
    if not card and kind != "urls":
        return steps_for(name)
    whole = name.removesuffix(f"/{part}") if part else name
    if not card:
        command = f"vltk data fetch {source.get('list', 'LIST')}"
    elif card in card_names():
        command = f"{fetch_command(load_card(card))} --from {kind}"
    else:
        command = f"vltk data fetch CARD.yaml --from {kind}"
    named = "" if whole == card else f" --name {whole}"
    return [(f"the data set {name}, as it was fetched", f"{command}{named}")]
