"""Processes that help this one with the same tasks: the same command again, each saying what it says into a file."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

HELPER, SINCE = "VLTK_EVAL_HELPER", "VLTK_EVAL_SINCE"
OPTION = "--jobs"
PATIENCE = 10.0  # seconds that a helper has to end once this process has


@contextmanager
def helped(count: int, logs: Path, since: float, environments: Sequence[Mapping[str, str]] = ()) -> Iterator[None]:
    """`count` helpers until the end of the block, at which they have to end too; what they say is in `logs`.

    They take no task that has been settled after `since`; `environments` are theirs one by one.
    """
    if is_helper() or not count:
        yield
        return
    command = [sys.executable, "-m", "vltk", *without_jobs(sys.argv[1:])]
    logs.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        for number in range(count):
            log = stack.enter_context((logs / f"helper-{number + 1}.log").open("w"))
            own = environments[number] if number < len(environments) else {}
            environment = {**os.environ, **own, HELPER: str(number + 1), SINCE: repr(since)}
            helper = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
            stack.callback(_end, helper)
        yield


def begun() -> float | None:
    """When the process that this one helps began; None where it helps none."""
    return float(os.environ[SINCE]) if SINCE in os.environ else None


def is_helper() -> bool:
    """Whether this process was started to help: it shows and writes no table."""
    return HELPER in os.environ


def without_jobs(arguments: Sequence[str]) -> list[str]:
    """The arguments without `--jobs N` and `--jobs=N`."""
    left, skip = [], False
    for argument in arguments:
        if skip:
            skip = False
        elif argument == OPTION:
            skip = True
        elif not argument.startswith(f"{OPTION}="):
            left.append(argument)
    return left


def _end(helper: subprocess.Popen[bytes]) -> None:
    """Nothing is left to do when this process ends; one that still works is stopped."""
    try:
        helper.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        helper.terminate()
        helper.wait()
