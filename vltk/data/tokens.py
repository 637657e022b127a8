"""Reading a data set of tokens by position: one slice of a memory-mapped file a sample, safe from many threads.

NAME/tokens/00000.bin holds the ids (uint16, or uint32 above 65,536 words), 00000.idx.npy where each sample starts, and
00000.doc.npy the first sample of each document; `tokenizer.json` or `vocab.txt` is what made them. See `token_shards`.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any, cast

import numpy as np

from vltk.data.dataset import Dataset, Sample
from vltk.data.hashes import file_sha256
from vltk.data.text import Tokenizer
from vltk.errors import VltkError


class TokenSample(Sample):
    """A sample that is stored as tokens: `ids` `(T,)`, without `[CLS]` and `[SEP]`. Its text is decoded when asked."""

    def __init__(self, key: str, ids: np.ndarray, decode: Callable[[np.ndarray], str]) -> None:
        for name, value in (("key", key), ("image", None), ("meta", {}), ("ids", ids), ("_decode", decode)):
            object.__setattr__(self, name, value)

    @property
    def texts(self) -> list[str]:
        """Readable, though not letter for letter what was read: the tokenizer may drop case and accents."""
        decode: Callable[[np.ndarray], str] = object.__getattribute__(self, "_decode")
        assert self.ids is not None
        return [decode(self.ids)]


def open_tokens(name: str, folder: Path, manifest: dict[str, Any]) -> Dataset:
    """The data set of tokens in `folder`. Raises VltkError where a file is not as its manifest says."""
    return cast(Dataset, TokenDataset(name, folder, manifest))  # all of its surface that streams read


class TokenDataset:
    """`len(ds)`, `ds.read(i)`: whole sentences of one document, up to `max_length` ids with `[CLS]` and `[SEP]`."""

    def __init__(self, name: str, folder: Path, manifest: dict[str, Any]) -> None:
        self.name, self.folder, self.manifest = name, folder, manifest
        self.max_length: int = manifest["max_length"]
        shards = manifest["shards"]
        self.indexes = [_index(folder, shard, name) for shard in shards]
        self.ids = [_ids(folder, shard, np.dtype(manifest["dtype"]), name) for shard in shards]
        self.shard_sizes = [shard["samples"] for shard in shards]
        self.starts = [0, *accumulate(self.shard_sizes)]
        self._made_by = {manifest["tokenizer"]["digest"]}  # by this or that version of the tokenizers library
        content = [manifest["tokenizer"]["digest"], [[shard["samples"], shard["sha256"]] for shard in shards]]
        self.digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def __len__(self) -> int:
        return self.starts[-1]

    @property
    def has_images(self) -> bool:
        return False

    @property
    def has_texts(self) -> bool:
        return True

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer that made the ids, from the data set's own copy."""
        return Tokenizer(self.folder / self.manifest["tokenizer"]["file"], self.max_length)

    def raw(self, position: int) -> int:
        """The n-th sample of the shards: a data set of tokens has no skip list."""
        return position

    def read(self, position: int) -> TokenSample:
        """The sample at `position`, 0 to len - 1; its ids are a read-only view of the file."""
        if not 0 <= position < len(self):
            raise IndexError(f"position {position} of {len(self)} in {self.name}")
        shard = bisect_right(self.starts, position) - 1
        row = position - self.starts[shard]
        start, stop = self.indexes[shard][row : row + 2].tolist()
        return TokenSample(f"{shard:05d}_{row:07d}", self.ids[shard][start:stop], self._decode)

    def _decode(self, ids: np.ndarray) -> str:
        return self.tokenizer.decode(ids.tolist())

    def check(self, tokenizer: Tokenizer, max_length: int) -> None:
        """Raises VltkError unless a stream of this tokenizer and length can take the samples as they are."""
        if tokenizer.digest not in self._made_by:
            if tokenizer.digest != self.tokenizer.digest:
                own = self.folder / self.manifest["tokenizer"]["file"]
                source = self.manifest["source"]["source"]
                raise VltkError(
                    f"the data set {self.name!r} was made with another tokenizer than {tokenizer.vocab}: its ids mean "
                    f"other words\nTake its own (tokenizer: {{vocab: {own}}}), or make it again: "
                    f"vltk data tokens {source} {self.name} --tokenizer {tokenizer.vocab} --replace"
                )
            self._made_by.add(tokenizer.digest)
        if max_length < self.max_length:
            raise VltkError(
                f"the data set {self.name!r} has samples of up to {self.max_length} tokens, the stream takes "
                f"{max_length}\nSet max_length: {self.max_length} in the stream, or make the data set again with "
                f"--max-length {max_length} --replace"
            )


def problems(name: str, folder: Path, manifest: dict[str, Any]) -> Iterator[tuple[Path, str]]:
    """Every file of a data set of tokens that is not as its manifest says, and how; reads all bytes."""
    own = manifest["tokenizer"]
    files = [(own["file"], own["sha256"])]
    for shard in manifest["shards"]:
        files += [(shard[file], shard[digest]) for file, digest in _FILES]
        files.append((f"rows/{Path(shard['file']).stem}.parquet", shard.get("rows_sha256")))
    for file, digest in files:
        path = folder / file
        if not path.exists():
            yield path, "the file is gone"
        elif digest is not None and file_sha256(path) != digest:
            yield path, "other bytes than the manifest says"
    for key in ("samples", "documents", "tokens", "rows"):
        total = sum(shard[key] for shard in manifest["shards"])
        if total != manifest[key]:
            yield folder / "manifest.json", f"{manifest[key]} {key}, but its shards have {total}"


_FILES = (("file", "sha256"), ("index", "index_sha256"), ("documents_index", "documents_sha256"))


def _index(folder: Path, shard: dict[str, Any], name: str) -> np.ndarray:
    """`(samples + 1,)` int64: where each sample starts, and where the last one ends."""
    path = folder / shard["index"]
    if not path.exists():
        raise _damaged(path, name, "the file is gone")
    if file_sha256(path) != shard["index_sha256"]:
        raise _damaged(path, name, "not the index that the manifest names")
    index: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False).view(np.ndarray)  # slices of memmap are slow
    return index


def _ids(folder: Path, shard: dict[str, Any], dtype: np.dtype[Any], name: str) -> np.ndarray:
    """`(tokens,)` ids of a shard, on disk."""
    path = folder / shard["file"]
    if not path.exists():
        raise _damaged(path, name, "the file is gone")
    if path.stat().st_size != shard["bytes"]:
        sizes = f"{path.stat().st_size} bytes, the manifest says {shard['bytes']}"
        raise _damaged(path, name, f"{sizes}: the file was cut or changed")
    return np.memmap(path, dtype=dtype, mode="r").view(np.ndarray) if shard["tokens"] else np.empty(0, dtype)


def _damaged(path: Path, name: str, what: str) -> VltkError:
    return VltkError(
        f"{path}: {what}\nThe data set {name!r} has to be made again: "
        f"vltk data tokens SOURCE {name} --tokenizer FILE --replace"
    )
