"""What a stage is: the keys that affect its result, its data and what it starts from (design section 6).

Finished and equal is skipped, stopped and equal goes on, changed is refused with the key named.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from vltk.errors import VltkError
from vltk.recipe import Stage
from vltk.run import RunFolder, load_stage

# How fast, how often written, on how many devices: these leave the result alone (up to rounding). So does evaluation,
# unless it decides which weights are kept.
WITHOUT_EFFECT = (
    "checkpoint", "loader", "log_every", "micro_batch", "deepspeed", "description", "evaluate", "faults",
    "checkpoint_activations",
)  # fmt: skip


def identity(stage: Stage, data: Mapping[str, str], sources: Mapping[str, str]) -> dict[str, Any]:
    """`data`: digest of each data set's manifest; `sources`: digest of the weights of each run it starts from."""
    said = stage.model_dump(mode="json")
    keys = {key: value for key, value in said.items() if key not in WITHOUT_EFFECT}
    if stage.loader.window is not None:  # the one key of the loader that changes the order of samples
        keys["loader"] = {"window": stage.loader.window}
    if best := stage.evaluate.best:
        task = best.partition(" ")[0]
        keys["evaluate"] = said["evaluate"] | {"tasks": {task: said["evaluate"]["tasks"][task]}}
    return {"recipe": keys, "data": dict(data), "sources": dict(sources)}


def recorded(folder: RunFolder) -> dict[str, Any]:
    """The identity that a run was begun with, empty where there is none; keys that are newer than the run say what it
    did without them, their default, so that it goes on under a newer vltk."""
    before: dict[str, Any] = folder.facts().get("identity", {})
    try:
        said = identity(load_stage(folder), {}, {})["recipe"] if before else {}
    except VltkError:  # of a key that is gone: what was written then is compared
        return before
    return before | {"recipe": said} if before else {}


def digest(facts: Mapping[str, Any]) -> str:
    """A short hash of plain data."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def changes(before: Any, after: Any, key: str = "") -> list[str]:
    """One line a key that differs: `optimizer.lr: was 0.001, is 0.0005`."""
    if isinstance(before, dict) and isinstance(after, dict):
        names = [*before, *(name for name in after if name not in before)]
        return [
            line
            for name in names
            for line in changes(before.get(name), after.get(name), f"{key}.{name}" if key else str(name))
        ]
    return [] if before == after else [f"{key}: was {before}, is {after}"]
