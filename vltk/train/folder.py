"""A run folder while its stage trains: what explains it is written first, how it ended last."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
import yaml

from vltk import __version__, dist
from vltk.data.text import Tokenizer
from vltk.log import say
from vltk.recipe import Stage, plain
from vltk.run import RunFolder
from vltk.train.signals import Stopped
from vltk.whole import whole


def opened(
    folder: RunFolder, stage: Stage, tokenizer: Tokenizer | None, identity: Mapping[str, Any], **said: Any
) -> None:
    """The resolved recipe, the vocabulary, and run.json with what is `said` of the run."""
    with whole(folder.recipe) as part:
        part.write_text(yaml.safe_dump(plain(stage), sort_keys=False))
    if tokenizer is not None:
        tokenizer.copy_to(folder.path)
    folder.note(
        status="running", error=None, weights=None, vltk=__version__, hardware=hardware(), identity=identity,
        home=str(folder.path.resolve()), step=folder.facts().get("step", 0), **said,
    )  # fmt: skip


@contextmanager
def noted(folder: RunFolder, name: str) -> Iterator[None]:
    """Notes in run.json that the training inside was stopped, or the first line of what ended it."""
    try:
        yield
    except Stopped:
        if dist.is_main():
            folder.note(status="stopped")
            say(f"{name}: stopped and saved; the same command goes on from here")
        raise
    except Exception as error:
        if dist.is_main():
            with suppress(OSError):  # on a full disk the error itself is what the user has to see
                folder.note(status="failed", error=(str(error) or type(error).__name__).splitlines()[0])
        raise


def hardware() -> str:
    """What this process computes on, in words."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cpu = f"{os.cpu_count()} CPU cores, {_cpu_name()}, {memory:.0f} GiB"
    if not torch.cuda.is_available():
        return cpu
    return f"{torch.cuda.device_count()} x {torch.cuda.get_device_name()}; {cpu}"


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
