"""What is to be fetched, fixed before the first request: clean rows in pieces, pieces in shards.

The plan of a fetch lies in `NAME/.fetch/plan/`; it is there when it is complete, and a rerun keeps to it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vltk.data.fetch.form import Form
from vltk.data.fetch.options import FetchOptions
from vltk.data.fetch.rows import Wanted, clean
from vltk.errors import VltkError
from vltk.whole import sync

LOOKED_AT = 1 << 20  # bytes at each end of a file by which it is known again


@dataclass(frozen=True)
class Plan:
    """Counts of rows; rows of a piece, pieces of a shard; where shards are numbered from; what must not change."""

    rows: int
    usable: int
    pieces: int
    piece: int
    group: int
    statuses: dict[str, int]
    identity: dict[str, Any]
    facts: dict[str, Any]  # what the manifest will say of the source
    first_shard: int = 0
    replace: bool = False
    kept: list[dict[str, Any]] | None = None  # entries of a data set whose lost rows are tried again

    @property
    def shards(self) -> int:
        """Of the first round."""
        return groups(self.pieces, self.group)


def groups(pieces: int, group: int) -> int:
    return -(-pieces // group)


def identity(sources: list[tuple[Path, Form]], options: FetchOptions) -> dict[str, Any]:
    """What makes it the same fetch: the files, how they are read, what is stored of an image."""
    home = os.path.commonpath([path.absolute().parent for path, _ in sources])
    files = {
        path.absolute().relative_to(home).as_posix(): {"fingerprint": fingerprint(path), "form": asdict(form)}
        for path, form in sources
    }
    return {"files": files, "limit": options.limit, **asdict(options.limits())}


def fingerprint(path: Path) -> str:
    """sha256 over the size and both ends of a file: lists are too long to be read once more."""
    size = path.stat().st_size
    found = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        found.update(file.read(LOOKED_AT))
        file.seek(max(0, size - LOOKED_AT))
        found.update(file.read())
    return found.hexdigest()


def make(
    folder: Path,
    sources: list[tuple[Path, Form]],
    options: FetchOptions,
    wanted: Wanted,
    about: dict[str, Any],
    replace: bool = False,
    each: Callable[[int], None] = lambda rows: None,
) -> Plan:
    """The plan below `folder`, made when it is not there yet; the manifest will say `about` of the source.

    Raises VltkError where another plan is, and what `clean` raises.
    """
    facts = identity(sources, options)
    if (folder / "plan.json").exists():
        return _same(load(folder), facts, folder)
    part = empty(folder.with_name("plan.part"))
    piece = min(options.piece, options.shard_size)
    found = clean(sources, part, piece, wanted, each)
    plan = Plan(
        rows=found.rows,
        usable=found.usable,
        pieces=found.pieces,
        piece=piece,
        group=max(1, options.shard_size // piece),
        statuses=dict(found.statuses),
        identity=json.loads(json.dumps(facts)),
        facts={**about, **facts},
        replace=replace,
    )
    save(plan, part, folder)
    return plan


def save(plan: Plan, part: Path, folder: Path) -> None:
    """Write the plan beside its pieces and move both into place."""
    (part / "plan.json").write_text(json.dumps(asdict(plan), indent=1), encoding="utf-8")
    sync(part / "plan.json")
    part.rename(folder)
    sync(folder.parent)


def load(folder: Path) -> Plan:
    """The plan below `folder`."""
    return Plan(**json.loads((folder / "plan.json").read_text(encoding="utf-8")))


def empty(folder: Path) -> Path:
    """A new folder of that name; what was there is removed."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    return folder


def _same(plan: Plan, facts: dict[str, Any], folder: Path) -> Plan:
    now = json.loads(json.dumps(facts))
    changed = [key for key in now if plan.identity.get(key) != now[key]]
    if changed:
        told = [f"{key} was {plan.identity.get(key)}, is {now[key]}" for key in changed if key != "files"]
        told += ["the list, or how its columns are read"] * ("files" in changed)
        raise VltkError(
            f"{folder.parent}: a fetch was begun with other options: {'; '.join(told)}\n"
            "Go on with those, or begin anew: --restart (what was fetched so far is removed)"
        )
    return plan
