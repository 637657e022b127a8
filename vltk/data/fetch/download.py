"""Large files over http(s): continued where they stopped, checked against what the card says."""

from __future__ import annotations

import http.client
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError, URLError

from vltk.data.bar import Bar
from vltk.data.card_schema import RemoteFile
from vltk.data.fetch.direct import opener, request
from vltk.data.fetch.policy import FetchError, Policy
from vltk.data.hashes import file_sha256
from vltk.data.statuses import Status
from vltk.errors import VltkError
from vltk.log import say

TRIES, PAUSE, LONGEST_PAUSE = 6, 1.0, 60.0  # in a row without a new byte; seconds, doubled each time
CHUNK = 1 << 20
PASSING = (408, 425, 429, 500, 502, 503, 504)


class OutOfReach(VltkError):
    """A file that a card names cannot be had from there: gone, forbidden, no connection. There may be other ways."""


class _Again(Exception):
    """Worth another try, after `wait` seconds if the server said so."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.reason, self.wait = reason, wait


def download(file: RemoteFile, folder: Path, policy: Policy) -> Path:
    """The file below `folder`, whole and checked (size and sha256 where the card has them).

    What a stopped call left as `NAME.part` is continued. Raises VltkError: not there, forbidden, no connection after
    several tries (all OutOfReach), other bytes than the card says, a full disk.
    """
    path = folder / file.filename
    if path.exists() and file.bytes in (None, path.stat().st_size):
        return path
    folder.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    _complete(file, part, policy)
    _check(file, part)
    part.rename(path)
    _tag(part).unlink(missing_ok=True)
    return path


def _complete(file: RemoteFile, part: Path, policy: Policy) -> None:
    """Try until all bytes are there; a try that brought some bytes does not count."""
    failures, pause = 0, PAUSE
    while True:
        before = _size(part)
        try:
            return _continue(file, part, policy)
        except _Again as again:
            failures, pause = (0, PAUSE) if _size(part) > before else (failures + 1, pause * 2)
            if failures == TRIES:
                raise OutOfReach(
                    f"{file.url}: {again.reason}, {TRIES} times in a row; {_size(part):,} bytes are kept in {part}: "
                    "the same command goes on from there"
                ) from None
            wait = min(again.wait or pause, LONGEST_PAUSE)
            say(f"{file.filename}: {again.reason}; again in {wait:g} s, try {failures + 1} of {TRIES}")
            time.sleep(wait)


def _continue(file: RemoteFile, part: Path, policy: Policy) -> None:
    """One request for the rest of the file."""
    have = _size(part)
    if have and have == file.bytes:
        return
    tag = _tag(part).read_text() if have and _tag(part).exists() else ""
    headers = {"Range": f"bytes={have}-", "If-Range": tag} if tag else {}
    with _answer(file, headers, part, policy) as answer:
        if answer is None:
            return
        if answer.status != 206:
            part.unlink(missing_ok=True)
            have = 0
        _tag(part).write_text(answer.headers.get("ETag") or answer.headers.get("Last-Modified") or "")
        _store(file, answer, part, have)


@contextmanager
def _answer(
    file: RemoteFile, headers: dict[str, str], part: Path, policy: Policy
) -> Iterator[http.client.HTTPResponse | None]:
    """The answer of the server; None where it says that there is nothing left. Failures become _Again or VltkError."""
    try:
        with opener(policy).open(request(file.url, policy, headers), timeout=policy.deadline) as answer:
            yield answer
    except HTTPError as error:
        if error.code == 416 and error.headers.get("Content-Range") == f"bytes */{_size(part)}":
            yield None
        elif error.code == 416:
            part.unlink()
            raise _Again("the file changed on the server") from None
        elif error.code in PASSING:
            after = error.headers.get("Retry-After", "")
            raise _Again(f"HTTP {error.code}", float(after) if after.isdigit() else None) from None
        else:
            raise OutOfReach(
                f"{file.url}: HTTP {error.code} {error.reason}: the file is gone, or not for all"
            ) from None
    except FetchError as error:
        if error.status is Status.dns:
            raise _Again(f"{error}") from None
        raise VltkError(f"{file.url}: {error}") from None
    except URLError as error:
        if not isinstance(error.reason, OSError):  # led to what is neither http nor https
            raise VltkError(f"{file.url}: {error.reason}") from None
        raise _Again(str(error.reason)) from None
    except (http.client.HTTPException, ConnectionError, TimeoutError) as error:
        raise _Again(str(error) or type(error).__name__) from None


def _store(file: RemoteFile, answer: http.client.HTTPResponse, part: Path, have: int) -> None:
    length = answer.headers.get("Content-Length", "")
    total = have + int(length) if length.isdigit() else file.bytes
    _check_room(part, (total or 0) - have)
    with part.open("ab") as out, Bar(file.filename, total or 0) as bar:
        while data := answer.read(CHUNK):
            out.write(data)
            have += len(data)
            if bar.due():
                bar.show(have, f"{have / 1e6:,.0f} MB")
            if file.bytes is not None and have > file.bytes:
                break  # _check names the two sizes
    if total is not None and have < total:
        raise _Again(f"the connection ended after {have:,} of {total:,} bytes")


def _check_room(part: Path, needed: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if needed > free:
        raise VltkError(f"{part.parent}: {needed:,} bytes to come, {free:,} bytes free on this disk")


def _check(file: RemoteFile, part: Path) -> None:
    size = part.stat().st_size
    wrong = f"{size:,} bytes, the card says {file.bytes:,}" if file.bytes not in (None, size) else ""
    if not wrong and file.sha256 is not None and (found := file_sha256(part)) != file.sha256:
        wrong = f"sha256 {found}, the card says {file.sha256}"
    if wrong:
        part.unlink()
        _tag(part).unlink(missing_ok=True)
        raise VltkError(f"{file.url}: {wrong}: the file was damaged on the way or replaced; it is not used")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _tag(part: Path) -> Path:
    """Beside a part: by what the server knows the version it is of."""
    return part.with_name(f"{part.name}.tag")
