"""Rows of a WebDataset tar that others made: members of one key stand together. Nothing is ever unpickled."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from vltk.data.image import ENDINGS
from vltk.data.prepare import Limits
from vltk.data.sources._raw import Raw
from vltk.data.statuses import Status
from vltk.errors import VltkError

TEXT_BYTES = 1 << 20  # of a caption or json member; longer ones are not read


def tar_rows(path: Path, prefix: str, caption: list[str], limits: Limits) -> Iterator[Raw]:
    """A row a key, named `prefix` and the key. `caption` names the members or json keys to look into, in order.

    Raises VltkError for a tar that is cut or damaged.
    """
    try:
        key = ""
        members: dict[str, bytes] = {}
        for tar, info in tar_members(path):
            if not info.isfile():
                continue
            found, ending = _split(info.name)
            if found != key and members:
                yield _row(key, members, prefix, caption)
                members = {}
            key = found
            body = tar.extractfile(info) if _is_read(ending, info.size, limits) else None
            members[ending] = body.read() if body else b""
        if members:
            yield _row(key, members, prefix, caption)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise VltkError(f"{path} is cut or damaged ({error}): delete it, and the same command gets it again") from error


def tar_members(path: Path) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    """Each member in order, of a plain or compressed tar. Raises tarfile.ReadError at the end of one that was cut,
    also where it was cut between two members: there `tarfile` alone sees nothing."""
    with tarfile.open(path, "r:*") as tar:
        for info in tar:
            yield tar, info
        file = tar.fileobj
        if file is not None:
            file.seek(tar.offset)
            if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError(f"no end mark at byte {tar.offset}")


def _split(name: str) -> tuple[str, str]:
    """Key and ending: the name is cut at the first dot of its last part."""
    path = PurePosixPath(name)
    stem, _, ending = path.name.partition(".")
    return (path.parent / stem).as_posix(), ending.lower()


def _is_read(ending: str, size: int, limits: Limits) -> bool:
    most = limits.max_bytes if _is_image(ending) else TEXT_BYTES
    return most is None or size <= most


def _is_image(ending: str) -> bool:
    return f".{ending.rpartition('.')[2]}" in ENDINGS


def _row(key: str, members: dict[str, bytes], prefix: str, caption: list[str]) -> Raw:
    meta = _facts(members.get("json", b""))
    image = next((body for ending, body in members.items() if _is_image(ending)), None)
    row: dict[str, Any] = {"url": meta["url"]} if isinstance(meta.get("url"), str) else {}
    name = f"{prefix}{key}"
    if image is None:
        return Raw(name, row=row, status=Status.missing_file, detail=f"no image: {', '.join(members)}")
    if not image:
        return Raw(name, row=row, status=Status.too_large, detail="empty, or more bytes than the limit")
    return Raw(name, image, _texts(members, meta, caption), {}, row)


def _facts(data: bytes) -> dict[str, Any]:
    try:
        facts = json.loads(data) if data else {}
    except ValueError:
        return {}
    return facts if isinstance(facts, dict) else {}


def _texts(members: dict[str, bytes], meta: dict[str, Any], caption: list[str]) -> list[str]:
    """The first place that holds a text; a list of texts is taken whole."""
    for place in caption:
        ending, _, key = place.partition(":")
        value = meta.get(key) if key else members.get(ending, b"").decode("utf-8", "surrogateescape")
        texts = [value] if isinstance(value, str) else [text for text in value or [] if isinstance(text, str)]
        if any(text.strip() for text in texts):
            return texts
    return []
