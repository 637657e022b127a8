"""Writing shards: WebDataset tars with a binary index, and one row per input.

The folder of a data set holds `shards/00000.tar`, `shards/00000.idx`, `rows/00000.parquet` and, last, `manifest.json`.
Every file is written as `.part`, synced, and renamed. Equal records give equal bytes.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from vltk.data.hashes import file_sha256
from vltk.data.publish import FORMAT, Manifest, publish, working_folder
from vltk.data.record import Record, Rejected, extension, members, safe_key
from vltk.data.row_table import RowTable
from vltk.data.statuses import Status
from vltk.errors import VltkError
from vltk.whole import sync

__all__ = [
    "ABSENT", "BLOCK", "FORMAT", "INDEX", "Manifest", "Record", "Rejected", "ShardWriter", "extension", "publish",
    "safe_key", "write_dataset",
]  # fmt: skip

BLOCK = 512  # a tar member is a header of one block, then its bytes filled up to whole blocks
ABSENT = 0xFFFFFFFF  # the size of a member that a sample does not have
INDEX = np.dtype([("offset", "<u8"), ("image", "<u4"), ("text", "<u4"), ("meta", "<u4")])  # all in bytes


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
        with working_folder(folder) as part:
            return publish(part, folder, _write(part, records, samples_per_shard), source, replace)
    except OSError as error:  # a full disk, a file that cannot be read
        raise VltkError(f"the data set {folder} could not be made, nothing was written: {error}") from error


def _write(part: Path, records: Iterable[Record | Rejected], samples_per_shard: int) -> list[dict[str, Any]]:
    """The records as shards of that many samples; the entries of the manifest."""
    entries: list[dict[str, Any]] = []
    keys: set[str] = set()
    writer = ShardWriter(part, 0, 0, keys)
    try:
        for record in records:
            if isinstance(record, Record) and writer.samples == samples_per_shard:
                entries.append(writer.close())
                writer = ShardWriter(part, len(entries), writer.next_row, keys)
            writer.add(record)
        entries.append(writer.close())
    finally:
        writer.abandon()
    return entries


class ShardWriter:
    """Records in, one finished shard out: `shards/NUMBER.tar`, `.idx` and `rows/NUMBER.parquet` below `folder`.

    Rows are counted from `first_row`; a record whose `row` has the column `row` sets the count. Keys are made safe and
    unique among `keys`, by default those of this shard.
    """

    def __init__(self, folder: Path, number: int, first_row: int = 0, keys: set[str] | None = None) -> None:
        self.folder, self.number, self.next_row = folder, number, first_row
        self.keys = set() if keys is None else keys
        self.statuses: Counter[str] = Counter()
        self.images = self.texts = 0
        for name in ("shards", "rows"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        self._index: list[tuple[int, int, int, int]] = []
        self._sha, self._offset = hashlib.sha256(), 0
        self._tar: BinaryIO = self._part(self._path("shards", "tar")).open("wb")
        self._rows = RowTable(self._part(self._path("rows", "parquet")))

    @property
    def samples(self) -> int:
        """Samples written so far."""
        return len(self._index)

    def add(self, record: Record | Rejected) -> None:
        """Write a sample, or note why there is none. Raises ValueError for an unknown status or row column."""
        if isinstance(record, Rejected):
            self._note(record.key, Status(record.status), record.detail, -1, 0, record.row)
            return
        files = members(record)
        key, start = self._unique(record.key), self._offset
        for file in files:
            if file is not None:
                self._member(f"{key}.{file[0]}", file[1])
        image, text, meta = (ABSENT if file is None else len(file[1]) for file in files)
        self._index.append((start, image, text, meta))
        self.images += record.image is not None
        self.texts += len(record.texts)
        self._note(key, Status.ok, "", self.number, len(record.texts), record.row)

    def close(self) -> dict[str, Any]:
        """The entry of the finished shard for the manifest; all its files are then on disk under their names."""
        self._write(b"\0" * (2 * BLOCK))
        self._tar.close()
        self._rows.close()
        index = np.array(self._index, dtype=INDEX).tobytes()
        self._part(self._path("shards", "idx")).write_bytes(index)
        for path in (self._path("rows", "parquet"), self._path("shards", "idx"), self._path("shards", "tar")):
            sync(self._part(path))
            self._part(path).rename(path)
        sync(self.folder / "rows")
        sync(self.folder / "shards")
        return {
            "file": f"shards/{self.number:05d}.tar",
            "samples": self.samples,
            "images": self.images,
            "texts": self.texts,
            "bytes": self._offset,
            "sha256": self._sha.hexdigest(),
            "index_sha256": hashlib.sha256(index).hexdigest(),
            "rows": self._rows.count,
            "rows_sha256": file_sha256(self._path("rows", "parquet")),
            "statuses": dict(sorted(self.statuses.items())),
        }

    def abandon(self) -> None:
        """Close and remove what is unfinished; nothing to do after `close`."""
        self._tar.close()
        self._rows.close()
        for path in (self._path("rows", "parquet"), self._path("shards", "idx"), self._path("shards", "tar")):
            self._part(path).unlink(missing_ok=True)

    def _path(self, kind: str, ending: str) -> Path:
        return self.folder / kind / f"{self.number:05d}.{ending}"

    @staticmethod
    def _part(path: Path) -> Path:
        return path.with_name(f"{path.name}.part")

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
        self._tar.write(data)
        self._sha.update(data)
        self._offset += len(data)

    def _note(self, key: str, status: Status, detail: str, shard: int, texts: int, row: Mapping[str, Any]) -> None:
        number = row.get("row", self.next_row)
        facts = {"key": key, "status": status.value, "detail": detail, "shard": shard, "texts": texts}
        self._rows.add({**facts, **row, "row": number})
        self.statuses[status.value] += 1
        self.next_row = number + 1
