"""Processes that end with the one that started them, however that ends: also by kill -9 (Linux: PR_SET_PDEATHSIG)."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def end_with(parent: int, number: int = signal.SIGKILL) -> None:
    """From now on this process gets signal `number` when `parent`, which started it, ends; it ends if that is over.

    Linux counts the thread that started it, not the whole process: start from a thread that stays.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, number, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    if os.getppid() != parent:
        os._exit(1)


def environment(**changes: str) -> dict[str, str]:
    """The environment for a Python process that must find this very package, wherever it is started."""
    import vltk

    here = str(Path(vltk.__file__).parents[1])
    paths = [here, *(path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path and path != here)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **changes}


def python(module: str, *arguments: str) -> list[str]:
    """The command line of a module; the working folder is not on its path (`-P`), so files there cannot shadow any."""
    return [sys.executable, "-P", "-m", module, *arguments]
