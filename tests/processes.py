"""Runs a function in two processes joined by gloo, as torchrun would, and brings back what rank 0 returned."""

from __future__ import annotations

import json
import os
import socket
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import multiprocessing

from vltk import dist


def in_processes(world: int, work: Callable[..., Any], folder: Path, *args: Any) -> Any:
    """What `work(*args)` returned on rank 0, as JSON would give it back."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    result = folder / f"{work.__name__}.json"
    multiprocessing.spawn(_join, (world, port, result, work, args), nprocs=world)
    return json.loads(result.read_text())


def _join(rank: int, world: int, port: int, result: Path, work: Callable[..., Any], args: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "MASTER_ADDR": "localhost", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in names.items()})
    dist.start()
    found = work(*args)
    if dist.is_main():
        result.write_text(json.dumps(found))
    dist.stop()
    # DeepSpeed keeps gloo's threads alive past the end of their group; one that wants the interpreter's lock while it
    # shuts down aborts the process ("terminate called without an active exception", about one run in twelve)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
