"""Trying lost rows of a finished data set again: new shards beside the old ones, every row still with one status."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from vltk.data.caption import normalise
from vltk.data.dataset import dataset_folder
from vltk.data.fetch import plan as plans
from vltk.data.fetch.job import clear
from vltk.data.fetch.options import FetchOptions
from vltk.data.fetch.pieces import Clean, read_table, write_clean
from vltk.data.fetch.plan import Plan
from vltk.data.fetch.rounds import finish
from vltk.data.hashes import file_sha256
from vltk.data.lock import locked
from vltk.data.prepare import Limits
from vltk.data.row_table import RowTable
from vltk.data.shard import Manifest
from vltk.data.statuses import Status
from vltk.errors import VltkError
from vltk.log import say
from vltk.whole import sync


def retry(name: str, options: FetchOptions, statuses: list[str] | None = None) -> Manifest:
    """Fetch the rows of `name` again that ended in one of these statuses (default: those that may mend).

    Images are stored as those of the data set. Raises VltkError: other limits than those, not a data set that was
    fetched from URLs, no such rows, the data set is in use.
    """
    folder = dataset_folder(name)
    work = folder / ".fetch"
    if (work / "plan").exists():
        options = _alike(folder, options, plans.load(work / "plan").facts)
    else:
        manifest, chosen = _manifest(folder), _chosen(statuses)
        options = _alike(folder, options, manifest["source"])
    with locked(work):
        if not (work / "plan").exists():
            (work / "journal.jsonl").unlink(missing_ok=True)
            _plan(folder, manifest, chosen, options)
        plan = plans.load(work / "plan")
        if plan.kept is None:
            raise VltkError(f"{work}: the list itself is not fetched to its end: run it without --retry-failed")
        say(f"{name}: {plan.usable:,} rows are tried again")
        done = finish(folder, plan, options, expected=None)
        clear(work)
        work.rmdir()
        return done


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / "manifest.json"
    if not path.exists():
        raise VltkError(f"{folder}: no data set to try again; fetch it first: vltk data fetch")
    manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if manifest["source"].get("kind") != "urls":
        raise VltkError(f"{folder} was not fetched from a list of URLs: there is nothing to try again")
    return manifest


def _alike(folder: Path, options: FetchOptions, source: dict[str, Any]) -> FetchOptions:
    """The options with the limits that the data set was made with. Raises VltkError where others are asked for."""
    made = {field.name: source[field.name] for field in fields(Limits) if field.name in source}
    others = [key for key in made if key in options.model_fields_set and getattr(options, key) != made[key]]
    if others:
        told = ", ".join(f"{key} {made[key]}, not {getattr(options, key)}" for key in others)
        raise VltkError(f"{folder} was made with {told}; rows tried again are stored alike: leave it out")
    return options.model_copy(update=made)


def _chosen(statuses: list[str] | None) -> set[str]:
    known = {status.value for status in Status if status is not Status.ok}
    if unknown := set(statuses or ()) - known:
        raise VltkError(f"no status {', '.join(sorted(unknown))}; have: {', '.join(sorted(known))}")
    return set(statuses) if statuses else {status.value for status in Status if status.retry}


def _plan(folder: Path, manifest: dict[str, Any], chosen: set[str], options: FetchOptions) -> None:
    """Lost rows as pieces, all others as the rows of the shards that stay."""
    part = plans.empty(folder / ".fetch" / "plan.part")
    piece = min(options.piece, options.shard_size)
    kept: list[dict[str, Any]] = []
    found = write_clean(_lost(folder, part, manifest, chosen, kept), part, piece)
    if not found.usable:
        raise VltkError(f"{folder}: no row ended as {', '.join(sorted(chosen))}: nothing to try again")
    plan = Plan(
        rows=manifest["rows"],
        usable=found.usable,
        pieces=found.pieces,
        piece=piece,
        group=max(1, options.shard_size // piece),
        statuses={},
        identity={},
        facts={**manifest["source"], "retried": [*manifest["source"].get("retried", []), sorted(chosen)]},
        first_shard=1 + max(int(Path(entry["file"]).stem) for entry in kept),
        replace=True,
        kept=kept,
    )
    plans.save(plan, part, folder / ".fetch" / "plan")


def _lost(
    folder: Path, part: Path, manifest: dict[str, Any], chosen: set[str], kept: list[dict[str, Any]]
) -> Iterator[Clean]:
    """The rows to try again, as they are met; the others go to `part/kept`, with the entry of their shard."""
    (part / "kept").mkdir()
    for entry in manifest["shards"]:
        name = Path(entry["file"]).with_suffix(".parquet").name
        statuses: Counter[str] = Counter()
        table = RowTable(part / "kept" / name)
        for row in read_table(folder / "rows" / name):
            if row["status"] in chosen and row["url"]:
                yield _again(row)
            else:
                statuses[row["status"]] += 1
                table.add(row)
        table.close()
        sync(part / "kept" / name)
        rows = {"rows": table.count, "rows_sha256": file_sha256(part / "kept" / name)}
        kept.append({**entry, **rows, "statuses": dict(sorted(statuses.items()))})


def _again(row: dict[str, Any]) -> Clean:
    if row["caption"] is None:
        return Clean(row["row"], row["url"], None, None)
    caption = normalise(row["caption"])
    return Clean(row["row"], row["url"], caption.text, row["caption"] if caption.changed else None)
