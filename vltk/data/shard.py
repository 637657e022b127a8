"""Writing a data set: WebDataset tars with a binary index, one row per input, and a manifest that comes last.

The folder of a data set holds `shards/00000.tar`, `shards/00000.idx`, `rows/00000.parquet` and `manifest.json`.
Everything is written below `.part`, synced, and moved; a data set exists only when its manifest does. Equal records
give equal bytes.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from vltk.errors import VltkError

BLOCK = 512  # a tar member is a header of one block, then its bytes filled up to whole blocks
ABSENT = 0xFFFFFFFF  # the size of a member that a sample does not have
INDEX = np.dtype([("offset", "<u8"), ("image", "<u4"), ("text", "<u4"), ("meta", "<u4")])  # all in bytes
MAGIC = {b"\xff\xd8\xff": "jpg", b"\x89PNG": "png", b"GIF8": "gif", b"BM": "bmp", b"RIFF": "webp"}


@dataclass(frozen=True)
class Record:
    """One sample to write: encoded image bytes (or None), its texts (captions, or one text), labels and other JSON."""

    key: str
    image: bytes | None
    texts: list[str] = field(default_factory=list)
    meta: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Rejected:
    """An input row that gives no sample: `status` is a short word counted in the manifest, `detail` a sentence."""

    key: str
    status: str
    detail: str = ""


@dataclass(frozen=True)
class Manifest:
    """What `manifest.json` says: totals, one entry a shard, how many input rows ended in which status, the source."""

    samples: int
    images: int
    texts: int
    shards: list[dict[str, Any]]
    statuses: dict[str, int]
    source: dict[str, Any]
    format: int = 1

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def safe_key(name: str) -> str:
    """A name that every WebDataset reader takes as one key: no dots, no spaces, at most 80 characters."""
    key = re.sub(r"[^A-Za-z0-9_/-]", "_", name).strip("/") or "_"
    if len(key) <= 80:
        return key
    return f"{key[:60]}_{hashlib.sha256(name.encode()).hexdigest()[:16]}"


def extension(image: bytes) -> str:
    """The file ending of encoded image bytes, by their first bytes."""
    for start, ending in MAGIC.items():
        if image.startswith(start):
            return ending
    return "bin"


def write_dataset(
    folder: Path,
    records: Iterable[Record | Rejected],
    source: dict[str, Any],
    samples_per_shard: int = 5000,
    replace: bool = False,
) -> Manifest:
    """Write the records as a data set; an existing one is refused, or replaced once the new one is complete.

    Raises VltkError when no record is usable, when the data set exists (and not `replace`) or is being written.
    """
    if (folder / "manifest.json").exists() and not replace:
        raise VltkError(f"the data set {folder} exists already: delete it, give another name, or add --replace")
    try:
        with _part(folder) as part:
            manifest = _write(part, records, source, samples_per_shard)
            _publish(part, folder)
    except OSError as error:  # a full disk, a file that cannot be read
        raise VltkError(f"the data set {folder} could not be made, nothing was written: {error}") from error
    return manifest


def _write(
    part: Path, records: Iterable[Record | Rejected], source: dict[str, Any], samples_per_shard: int
) -> Manifest:
    writer = _Writer(part, samples_per_shard)
    try:
        for record in records:
            writer.add(record)
        manifest = writer.finish(source)
    finally:
        writer.abandon()
    (part / "manifest.json").write_text(manifest.to_json(), encoding="utf-8")
    return manifest


@contextmanager
def _part(folder: Path) -> Iterator[Path]:
    """The locked working folder `.part`, emptied first and removed at the end; after a failure new parents go too."""
    created = [path for path in (folder, *folder.parents) if not path.exists()]
    part = folder / ".part"
    part.mkdir(parents=True, exist_ok=True)
    lock = os.open(part, os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise VltkError(f"another process is writing the data set {folder}: wait for it, or stop it") from None
        for left in part.iterdir():  # of a writer that was killed
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        (part / "shards").mkdir()
        (part / "rows").mkdir()
        try:
            yield part
        finally:
            shutil.rmtree(part)
            for path in created:
                if not any(path.iterdir()):
                    path.rmdir()
    finally:
        os.close(lock)


def _publish(part: Path, folder: Path) -> None:
    """Move the finished parts in; the manifest of a replaced data set goes first, the new one comes last."""
    for path in (part / "manifest.json", part / "shards", part / "rows"):
        _sync(path)
    (folder / "manifest.json").unlink(missing_ok=True)
    for name in ("shards", "rows"):
        if (folder / name).exists():
            shutil.rmtree(folder / name)
        (part / name).rename(folder / name)
    (part / "manifest.json").rename(folder / "manifest.json")
    _sync(folder)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class _Writer:
    """Records in, finished shards out."""

    def __init__(self, part: Path, samples_per_shard: int) -> None:
        self.part, self.samples_per_shard = part, samples_per_shard
        self.shards: list[dict[str, Any]] = []
        self.statuses: Counter[str] = Counter()
        self.images = self.texts = self.row = 0
        self.keys: set[str] = set()
        self._open()

    def _open(self) -> None:
        self.tar: BinaryIO = (self.part / "shards" / f"{len(self.shards):05d}.tar").open("wb")
        self.sha, self.offset = hashlib.sha256(), 0
        self.index: list[tuple[int, int, int, int]] = []
        self.rows: list[tuple[int, str, str, str, int, int]] = []

    def add(self, record: Record | Rejected) -> None:
        if isinstance(record, Rejected):
            self._note(record.key, record.status, record.detail, -1, 0)
            return
        if len(self.index) == self.samples_per_shard:
            self._close()
            self._open()
        key = self._unique(record.key)
        members = _members(record)
        start = self.offset
        for ending, body in members.values():
            self._member(f"{key}.{ending}", body)
        sizes = [len(members[name][1]) if name in members else ABSENT for name in ("image", "text", "meta")]
        self.index.append((start, sizes[0], sizes[1], sizes[2]))
        self.images += record.image is not None
        self.texts += len(record.texts)
        self._note(key, "ok", "", len(self.shards), len(record.texts))

    def _unique(self, key: str) -> str:
        """The key, safe and with a number behind it when it was there before."""
        key = safe_key(key)
        number, name = 1, key
        while name in self.keys:
            number += 1
            name = f"{key}_{number}"
        self.keys.add(name)
        return name

    def _member(self, name: str, body: bytes) -> None:
        info = tarfile.TarInfo(name)  # time, owner and group stay 0: equal records, equal bytes
        info.size, info.mode = len(body), 0o644
        self._write(info.tobuf(tarfile.USTAR_FORMAT, "utf-8", "strict"))
        self._write(body + b"\0" * (-len(body) % BLOCK))

    def _write(self, data: bytes) -> None:
        self.tar.write(data)
        self.sha.update(data)
        self.offset += len(data)

    def _note(self, key: str, status: str, detail: str, shard: int, texts: int) -> None:
        self.rows.append((self.row, key, status, detail, shard, texts))
        self.statuses[status] += 1
        self.row += 1

    def _close(self) -> None:
        self._write(b"\0" * (2 * BLOCK))
        _finish(self.tar)
        name = f"{len(self.shards):05d}"
        index = np.array(self.index, dtype=INDEX)
        with (self.part / "shards" / f"{name}.idx").open("wb") as file:
            file.write(index.tobytes())
            _finish(file)
        self._write_rows(self.part / "rows" / f"{name}.parquet")
        self.shards.append(
            {
                "file": f"shards/{name}.tar",
                "samples": len(index),
                "bytes": self.offset,
                "sha256": self.sha.hexdigest(),
                "index_sha256": hashlib.sha256(index.tobytes()).hexdigest(),
            }
        )

    def _write_rows(self, path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        text, whole = pa.string(), pa.int64()
        types = {"row": whole, "key": text, "status": text, "detail": text, "shard": whole, "texts": whole}
        rows = [dict(zip(types, row, strict=True)) for row in self.rows]
        pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema(types)), path)
        _sync(path)

    def finish(self, source: dict[str, Any]) -> Manifest:
        samples = self.statuses["ok"]
        if not samples:
            lost = ", ".join(f"{count} {status}" for status, count in self.statuses.items() if count)
            raise VltkError(f"no usable sample: {lost or 'the input is empty'}")
        self._close()
        return Manifest(samples, self.images, self.texts, self.shards, dict(sorted(self.statuses.items())), source)

    def abandon(self) -> None:
        self.tar.close()


def _members(record: Record) -> dict[str, tuple[str, bytes]]:
    """The members of a sample in the order they are written: image, text (the first), meta (all texts and labels)."""
    members: dict[str, tuple[str, bytes]] = {}
    if record.image is not None:
        members["image"] = (extension(record.image), record.image)
    if record.texts:
        members["text"] = ("txt", record.texts[0].encode())
    meta = {"captions": record.texts, **record.meta} if len(record.texts) > 1 else record.meta
    if meta:
        members["meta"] = ("json", json.dumps(meta, ensure_ascii=False, sort_keys=True).encode())
    if not members:
        raise ValueError(f"record {record.key!r} has neither image nor text")
    return members


def _finish(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
    file.close()
