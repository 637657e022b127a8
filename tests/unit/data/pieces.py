"""Pieces as img2dataset writes them, made by hand: sound ones and ones that lie."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from vltk.data.fetch.piece import Piece


def write_piece(
    folder: Path, number: int = 0, rows: int = 3, failed: str = "", lost: int = 0, members: int | None = None
) -> Piece:
    """A piece as img2dataset writes it; the last row fails with `failed`, `lost` rows are not there at all."""
    table, count = [], rows - lost
    stem = folder / f"{number:05d}"
    with tarfile.open(f"{stem}.tar", "w") as tar:
        for row in range(count):
            bad = bool(failed) and row == count - 1
            key, body = f"{number:05d}{row}", b"image %d" % row
            sha = None if bad else hashlib.sha256(body).hexdigest()
            state = {"status": "failed_to_download" if bad else "success", "error_message": failed if bad else None}
            table.append({"row": row, "url": f"http://a.example/{row}", "key": key, "sha256": sha, **state})
            if not bad and (members is None or row < members):
                for name, data in ((f"{key}.jpg", body), (f"{key}.json", b"{}")):
                    info = tarfile.TarInfo(name)
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
    words = {name: pa.string() for name in ("url", "key", "sha256", "status", "error_message")}
    pq.write_table(pa.Table.from_pylist(table, pa.schema({"row": pa.int64(), **words})), f"{stem}.parquet")
    stats = {"count": rows, "successes": count - bool(failed), "failed_to_download": int(bool(failed))}
    Path(f"{stem}_stats.json").write_text(json.dumps(stats))
    return Piece(number, Path(f"{stem}.tar"), Path(f"{stem}.parquet"))
