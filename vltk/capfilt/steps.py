"""The steps of a job one behind the other. What is missing or wrong is said before the first one begins."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from vltk.capfilt.job import ROLES, Job, require
from vltk.eval.workers import helped, is_helper
from vltk.log import say, warn

Helpers = Sequence[Mapping[str, str]]


def run(
    job: Job,
    redo: bool = False,
    replace: bool = False,
    helpers: Helpers = (),
    report: Callable[[Job], None] = lambda job: None,
) -> Path | None:
    """Captions, scores, selects and packs; the folder of the new data set. None in a process that helps another.

    `helpers`: the environment of each further process that captions and scores. `report` is called before anything
    is packed: what is packed may be nothing.
    Raises Missing with all that is absent, VltkError for what does not fit.
    """
    begin(job)
    from vltk.capfilt import caption, pack, score, select

    pack.refuse_output(job, replace)
    with _helped(job, helpers):
        caption.caption(job, redo)
        score.score(job, redo)
    if is_helper():
        return None
    select.select(job)
    report(job)
    return pack.pack(job, replace)


def captions(job: Job, redo: bool = False, helpers: Helpers = ()) -> None:
    """The first step alone."""
    begin(job, ["captioner"])
    from vltk.capfilt import caption

    with _helped(job, helpers):
        caption.caption(job, redo)


def scores(job: Job, redo: bool = False, helpers: Helpers = ()) -> None:
    """The second step alone."""
    begin(job, ["filter"])
    from vltk.capfilt import score

    with _helped(job, helpers):
        score.score(job, redo)


def begin(job: Job, roles: Sequence[str] = ROLES) -> None:
    """Looks at everything that can be wrong, what is absent first; writes the resolved recipe."""
    require(job, roles)
    from vltk.capfilt.models import Model, seen_in_training

    for name, dataset in job.datasets.items():
        if not dataset.manifest["texts"]:
            say(f"{name} has no texts: captions only")
    for role in roles:
        if (spec := getattr(job.options, role)) is not None:
            seen = seen_in_training(Model(role, spec, job))
            if seen and role == "filter":
                warn(f"the filter {spec} was trained on {', '.join(seen)}, which it is to judge: it knows these pairs")
    if not is_helper():
        job.write()


def _helped(job: Job, helpers: Helpers) -> AbstractContextManager[None]:
    return helped(len(helpers), job.folder / "logs", 0.0, helpers)
