"""A fetch from its list of URLs to a data set: begun, gone on with after a kill, only planned, or complete already.

All work lies in `NAME/.fetch/` until the data set is complete: `plan/` (clean rows), `journal.jsonl` (what is done),
`round-R/` (rows tried again), `raw-R/` (img2dataset's output), `data/` (finished shards).
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from vltk.data.dataset import dataset_folder
from vltk.data.fetch import plan as plans
from vltk.data.fetch.estimate import duration, estimate, require_disk
from vltk.data.fetch.options import FetchOptions
from vltk.data.fetch.order import Order
from vltk.data.fetch.packing import remove_empty
from vltk.data.fetch.plan import Plan
from vltk.data.fetch.rounds import finish
from vltk.data.lock import locked
from vltk.data.shard import Manifest
from vltk.errors import VltkError
from vltk.log import say


@dataclass(frozen=True)
class Switches:
    """`replace` a data set that is there, `restart` a fetch from nothing, `dry_run`: plan and estimate alone."""

    replace: bool = False
    restart: bool = False
    dry_run: bool = False


def run(name: str, ordered: Callable[[], Order], options: FetchOptions, switches: Switches) -> Manifest | None:
    """Fetch the rows of an order into the data set `name`; a fetch that was stopped is gone on with.

    `ordered` brings the list; no other process fetches into the data set meanwhile.
    None after a dry run. Raises VltkError: the disk is too small, the columns are swapped, the first rows give too few
    images, other options than those the fetch was begun with.
    """
    folder = dataset_folder(name)
    work = folder / ".fetch"
    if switches.dry_run:
        dry_run(folder, ordered, options)
        return None
    with locked(work):
        if switches.restart:
            clear(work, keep=("files",))
        order = ordered()
        plan = _planned(work, order, options, switches.replace)
        if not (work / "journal.jsonl").exists():  # nothing is done yet
            expect = estimate(plan.usable, options, order.expected, order.per_sample)
            say(f"{name}: {told(plan)}\n{expect}")
            require_disk(folder, expect.needed)
        try:
            manifest = finish(folder, plan, options, order.expected)
        except KeyboardInterrupt:
            say("stopped; the same command goes on")
            raise
        clear(work)
        work.rmdir()
        return manifest


def begun(folder: Path) -> bool:
    """Whether a fetch into the folder has its plan."""
    return (folder / ".fetch" / "plan").exists()


def complete(folder: Path, switches: Switches) -> bool:
    """Whether there is nothing to do; what a kill after the last step left is then removed.

    Raises VltkError while lost rows are tried again; a restart gives that up.
    """
    work = folder / ".fetch"
    if _is_retry(work) and not switches.dry_run:
        whole = (folder / "manifest.json").exists()
        if not (switches.restart and whole):  # else its end was killed while it moved the data set
            give_up = ", or give that up: --restart" if whole else ""
            raise VltkError(f"{folder}: lost rows are being tried again: go on with --retry-failed{give_up}")
        with locked(work):
            clear(work)
    if not (folder / "manifest.json").exists() or begun(folder) or switches.replace or switches.dry_run:
        return False
    if work.exists():
        with locked(work):
            clear(work)
            work.rmdir()
    say(f"{folder} is complete; --retry-failed tries lost rows again, --replace fetches all of it anew")
    return True


def _is_retry(work: Path) -> bool:
    return begun(work.parent) and plans.load(work / "plan").kept is not None


def told(plan: Plan) -> str:
    """The plan in words: `10,000 rows, 9,990 to fetch in 10 shards; put aside: 10 no_url`."""
    aside = ", ".join(f"{count:,} {status}" for status, count in sorted(plan.statuses.items()))
    return f"{plan.rows:,} rows, {plan.usable:,} to fetch in {plan.shards} shards" + (
        f"; put aside: {aside}" if aside else ""
    )


def dry_run(folder: Path, ordered: Callable[[], Order], options: FetchOptions) -> None:
    """Plan without a request and without a trace, but for the list that a card names; says what a fetch would take."""
    import resource
    import tempfile

    began = time.monotonic()
    work = folder / ".fetch"
    with _no_trace(work), locked(work), tempfile.TemporaryDirectory(dir=folder, prefix=".dry-run-") as place:
        order = ordered()
        plan = plans.make(Path(place) / "plan", order.sources, options, order.wanted, order.facts, each=_Planning())
    expect = estimate(plan.usable, options, order.expected, order.per_sample)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    say(f"{folder}: {told(plan)}, {plan.pieces} pieces of {plan.piece} rows\n{expect}")
    say(f"planned in {duration(time.monotonic() - began)}, at most {peak} MB of memory; nothing was fetched")
    require_disk(folder, expect.needed)


@contextmanager
def _no_trace(folder: Path) -> Iterator[None]:
    """The folder and its parents, where they are new and empty, are removed at the end."""
    created = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        yield
    finally:
        for path in created:
            remove_empty(path)


def clear(work: Path, keep: tuple[str, ...] = ()) -> None:
    """Remove all that a fetch left, but not the folder that is locked; the plan goes first, so that no rest counts."""
    for path in sorted(work.iterdir(), key=lambda path: path.name != "plan"):
        if path.name in keep:
            continue
        if path.is_dir():
            gone = path.rename(path.with_name(f"{path.name}.gone")) if not path.name.endswith(".gone") else path
            shutil.rmtree(gone)
        else:
            path.unlink()


def _planned(work: Path, order: Order, options: FetchOptions, replace: bool) -> Plan:
    if not begun(work.parent):
        (work / "journal.jsonl").unlink(missing_ok=True)
    return plans.make(work / "plan", order.sources, options, order.wanted, order.facts, replace, _Planning())


class _Planning:
    """Tells of a long planning."""

    def __init__(self) -> None:
        self.at = time.monotonic()

    def __call__(self, rows: int) -> None:
        if time.monotonic() - self.at > 10:
            self.at = time.monotonic()
            say(f"reading the list: {rows:,} rows")
