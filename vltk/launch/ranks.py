"""The ranks of this machine: processes that are started, watched and ended together."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vltk.launch import failure
from vltk.launch.failure import Failure

LAUNCHER = "VLTK_LAUNCHER"  # the process that started this rank, without which it is not to live on
PREFIX = "vltk-ranks-"  # of a folder for what ranks have to say
YOUNG = 60  # seconds, in which the launcher that has made it may not hold it yet
STACKS = signal.SIGUSR1  # asks a rank to write its stack into its log


@dataclass(frozen=True)
class Share:
    """What one machine does of a job: `count` ranks from `first` on, of `world`; the group meets at `address:port`."""

    host: str
    first: int
    count: int
    world: int
    address: str
    port: int


class Ranks:
    """The processes of a share, each `vltk ARGUMENTS`. What rank 0 says goes through; the others keep to their logs."""

    def __init__(self, share: Share, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        self.share, self.failures = share, list[Failure]()
        clear()
        self.folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        self._hold = _held(self.folder)
        self._ended: set[int] = set()
        self._processes = [self._start(number, arguments, environment) for number in range(share.count)]

    def _start(self, number: int, arguments: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        share, rank = self.share, self.share.first + number
        threads = str(max((os.cpu_count() or 1) // share.count, 1))
        told = {
            "RANK": rank, "LOCAL_RANK": number, "WORLD_SIZE": share.world, "LOCAL_WORLD_SIZE": share.count,
            "MASTER_ADDR": share.address, "MASTER_PORT": share.port, "VLTK_HOST": share.host,
            LAUNCHER: os.getpid(), failure.FOLDER: self.folder,
        }  # fmt: skip
        command = [sys.executable, "-m", "vltk", *arguments]
        own = {"OMP_NUM_THREADS": threads, **environment, **{name: str(value) for name, value in told.items()}}
        if rank == 0:
            return subprocess.Popen(command, env=own, stdin=subprocess.DEVNULL, start_new_session=True)
        with (self.folder / f"{rank}.out").open("wb") as out:
            return subprocess.Popen(
                command, env=own, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )

    def poll(self) -> bool:
        """Books what has ended since; whether all have."""
        for number, process in enumerate(self._processes):
            if number not in self._ended and (code := process.poll()) is not None:
                self._ended.add(number)
                if code:
                    rank = self.share.first + number
                    self.failures.append(failure.read(self.folder, rank, self.share.host, code, time.time()))
        return len(self._ended) == len(self._processes)

    def signal(self, number: int) -> None:
        """To every rank that lives; one that is frozen goes on, as it would not obey else."""
        for process in self._processes:
            if process.poll() is None:
                with suppress(ProcessLookupError):
                    process.send_signal(number)
                    process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        """Ends what still runs, frozen or not, once it has written its stack; and clears up."""
        if not self.poll():
            self.signal(STACKS)
            deadline = time.monotonic() + 1
            while not self.poll() and time.monotonic() < deadline:
                time.sleep(0.05)
            for process in self._processes:
                process.kill()
                process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
        if self._hold is not None:
            os.close(self._hold)
            self._hold = None


def clear() -> None:
    """Removes the folders of launchers that were killed: nobody holds them any more."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):  # another user's, or gone by now
            if time.time() - folder.stat().st_mtime > YOUNG and (hold := _held(folder)) is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(hold)


def _held(folder: Path) -> int | None:
    """A folder locked for as long as this process lives or the handle is open; None where another holds it."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as one:
        one.bind(("", 0))
        return int(one.getsockname()[1])
