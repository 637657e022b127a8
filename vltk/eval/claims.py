"""Who works at what, among processes and hosts that share a folder: a file that only one of them can create.

While it works, a process touches its claim. One that has not been touched for a minute, or whose process on this host
is gone, is taken over. Clocks are those of the file system. Should two ever hold a claim, both come to one result.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

BEAT, STALE = 10.0, 60.0  # seconds between two touches, and without one until it is taken over


@contextmanager
def claimed(path: Path) -> Iterator[bool]:
    """Whether this process holds the claim `path`, until the end of the block."""
    if not (_create(path) or (_is_stale(path) and _remove_stale(path) and _create(path))):
        yield False
        return
    stop = threading.Event()
    beat = threading.Thread(target=_beat, args=(path, stop), daemon=True)
    beat.start()
    try:
        yield True
    finally:
        stop.set()
        beat.join()
        path.unlink(missing_ok=True)


def now(folder: Path) -> float:
    """The time of the folder's file system."""
    probe = folder / f".clock-{_me()}"
    try:
        probe.touch()
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


def _create(path: Path) -> bool:
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        return False
    with os.fdopen(handle, "w") as file:
        json.dump({"host": os.uname().nodename, "pid": os.getpid()}, file)
    return True


def _is_stale(path: Path) -> bool:
    try:
        age = now(path.parent) - path.stat().st_mtime
        owner = json.loads(path.read_text())
    except FileNotFoundError:
        return True
    except ValueError:  # not yet written, or never
        return age > STALE
    return age > STALE or (owner["host"] == os.uname().nodename and not _lives(owner["pid"]))


def _remove_stale(path: Path) -> bool:
    """Moves it away first, so that of several only one takes it; what was touched meanwhile goes back."""
    aside = path.with_name(f"{path.name}.{_me()}.stale")
    try:
        path.rename(aside)
    except FileNotFoundError:
        return True
    if fresh := not _is_stale(aside):
        with suppress(FileExistsError):
            os.link(aside, path)
    aside.unlink(missing_ok=True)
    return not fresh


def _beat(path: Path, stop: threading.Event) -> None:
    while not stop.wait(BEAT):
        with suppress(FileNotFoundError):
            os.utime(path)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _me() -> str:
    return f"{os.uname().nodename}-{os.getpid()}"
