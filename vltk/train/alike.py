"""Before the first step: all ranks run the same recipe on the same data with the same versions."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from functools import partial
from importlib import metadata
from pathlib import Path

import torch

import vltk
from vltk import dist
from vltk.errors import VltkError
from vltk.identity import changes
from vltk.recipe import Recipe, plain
from vltk.train.together import on_main

SHOWN = 12  # differences


def alike(recipe: Recipe, data: Mapping[str, Mapping[str, str]]) -> None:
    """data: by stage, the digests of its data sets. Raises VltkError on the main process, which names every difference
    with rank and host, and Elsewhere on the others."""
    if dist.world() == 1:
        return
    stages = {name: plain(stage) for name, stage in recipe.stages.items()}
    own = {"host": dist.host(), "facts": {"version of": versions(), "recipe of stage": stages, "data of stage": data}}
    on_main(partial(_refuse, [json.loads(text) for text in dist.told(json.dumps(own))]))


def versions() -> dict[str, str]:
    """What a step is computed with; of vltk also a digest of its code, as a working tree keeps its version."""
    try:
        deepspeed = metadata.version("deepspeed")
    except metadata.PackageNotFoundError:
        deepspeed = "none"
    own = f"{vltk.__version__}, code {_code(Path(vltk.__file__).parent)}"
    return {"vltk": own, "torch": torch.__version__, "deepspeed": deepspeed, "python": platform.python_version()}


def _code(folder: Path) -> str:
    """A short hash of the Python files of a folder and of their names."""
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        found.update(f"{path.relative_to(folder)} {path.stat().st_size}\n".encode() + path.read_bytes())
    return found.hexdigest()[:16]


def _refuse(said: list[dict[str, object]]) -> None:
    first, *others = said
    lines = [
        f"rank {rank} on {other['host']}: {line.replace('.', ' ', 1).replace(': was ', ': rank 0 has ', 1)}"
        for rank, other in enumerate(others, 1)
        for line in changes(first["facts"], other["facts"])
    ]
    if lines:
        more = [f"... and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
        raise VltkError(
            f"the ranks are not alike; rank 0 on {first['host']} is compared with the others:\n  "
            + "\n  ".join(lines[:SHOWN] + more)
            + "\n  give every node the same vltk, the same recipe and command, and the same data"
        )
