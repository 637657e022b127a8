"""How a rank of several ends: it says why, to the others, to its launcher and into its log; the first is shown."""

from __future__ import annotations

import faulthandler
import os
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import NoReturn, TextIO

from vltk import dist, log, pulse
from vltk.errors import VltkError
from vltk.launch.failure import CUT, FOLDER, Failure, Kind, write
from vltk.launch.ranks import STACKS
from vltk.pulse import Verdict

CRASH = 70  # exit code of an error that is none of the user's: EX_SOFTWARE
PATIENCE = 5.0  # seconds that a rank waits for the reason why its connections broke

_log: TextIO | None = None
_terminal = 2  # where standard error went before the log took it


def keep_log(path: Path) -> None:
    """From here on this rank's output goes to `path`, and its stack when it is cut; of rank 0 the stack alone."""
    global _log, _terminal
    path.parent.mkdir(parents=True, exist_ok=True)
    before, _log = _log, path.open("a", buffering=1, errors="replace")
    _log.write(f"--- rank {dist.rank()} of {dist.world()} on {dist.host()}, process {os.getpid()}, {time.ctime()}\n")
    faulthandler.enable(_log)
    faulthandler.register(STACKS, _log, all_threads=True)
    if not dist.is_main():
        sys.stdout.flush()
        sys.stderr.flush()
        if before is None:
            _terminal = os.dup(2)
        for number in (1, 2):
            os.dup2(_log.fileno(), number)
        log.speak_into_log()
    if before is not None:
        before.close()


def fail(error: BaseException, message: str | None) -> int:
    """The exit code of this rank, once all who need it know why it ends. message: of a mistake that a user can mend."""
    when = time.time()  # before the others are told, which takes the first rank longer
    try:
        return _fail(error, message, when)
    except Exception as second:  # word is left also where telling the others went wrong
        second.__context__ = error
        text = "".join(traceback.format_exception(second)).rstrip()
        _end(Failure(dist.rank(), dist.host(), "crash", text, CRASH, when), shown=True)
        return CRASH


def _fail(error: BaseException, message: str | None, when: float) -> int:
    kind = _kind(error, message)
    text = message if message is not None else "".join(traceback.format_exception(error)).rstrip()
    own = pulse.own()
    if kind == "echo" and own is not None and (verdict := own.verdict(PATIENCE)) is not None:
        return _echoed(verdict, text)
    if kind == "echo" and message is None:
        _write_down(text)
        text = f"lost the connection to another rank, whose own log or launcher says why ({str(error)[:200]})"
    code = int(getattr(error, "exit_code", 1 if kind == "mistake" else CUT if kind == "echo" else CRASH))
    if own is not None and kind in ("mistake", "crash"):
        own.fail(text.splitlines()[-1] if kind == "crash" else text, code)
    _end(Failure(dist.rank(), dist.host(), kind, text, code, when), shown=kind != "stopped" and bool(text))
    return code


def cut(verdict: Verdict) -> NoReturn:
    """Called by the pulse: another rank failed, or is lost, and this one waits for it in vain."""
    try:
        _cut(verdict, time.time())
    finally:  # whatever went wrong in telling
        os._exit(verdict.code)


def _cut(verdict: Verdict, when: float) -> None:
    if verdict.failed:
        _echoed(verdict, f"ended, as rank {verdict.rank} on {verdict.host} failed")
        return
    _write_down(f"rank {verdict.rank} on {verdict.host}: {verdict.text}")
    if _log is not None:
        faulthandler.dump_traceback(_log, all_threads=True)
    time.sleep(2 * pulse.BEAT)  # the others hear of it through the store of rank 0
    _end(Failure(verdict.rank, verdict.host, "lost", verdict.text, verdict.code, when), shown=dist.is_main())


def _echoed(verdict: Verdict, text: str) -> int:
    _end(Failure(dist.rank(), dist.host(), "echo", text, verdict.code, time.time()), shown=False)
    return verdict.code


def _end(failure: Failure, shown: bool) -> None:
    """Leaves word; where no launcher of ours shows it, or a full disk keeps it from one, it is shown here."""
    _write_down(f"{failure.who()}: {failure.text}")
    if FOLDER in os.environ:
        try:
            write(failure, dist.rank())
            return
        except OSError:
            shown = True
    if shown:
        with suppress(OSError):
            os.write(_terminal, f"{failure.told()}\n".encode())


def _write_down(text: str) -> None:
    """Into the log, where its disk takes it."""
    if _log is not None:
        with suppress(OSError):
            _log.write(f"{text}\n")
            _log.flush()


def _kind(error: BaseException, message: str | None) -> Kind:
    said: Kind | None = getattr(error, "ends", None)
    if said is not None:
        return said
    if message is not None:
        return "mistake"
    return "echo" if _speaks_of_others(error) else "crash"


def _speaks_of_others(error: BaseException) -> bool:
    """Whether a collective failed because another rank is not there any more."""
    from torch.distributed import DistError

    words = ("gloo", "Connection closed by peer", "Connection reset by peer", "Broken pipe", "NCCL", "TCPStore")
    return isinstance(error, DistError) or (
        isinstance(error, RuntimeError) and not isinstance(error, VltkError) and any(w in str(error) for w in words)
    )
