"""The steps of a job one behind the other. What is missing or wrong is said before the first one begins."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from vltk.capfilt.job import ROLES, Job, require
from vltk.errors import VltkError
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
    _settle(job, *(() if redo else (caption.STEP, score.STEP)))
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

    _settle(job, *(() if redo else (caption.STEP,)))
    with _helped(job, helpers):
        caption.caption(job, redo)


def scores(job: Job, redo: bool = False, helpers: Helpers = ()) -> None:
    """The second step alone."""
    begin(job, ["filter"])
    from vltk.capfilt import caption, score

    _settle(job, caption.STEP, *(() if redo else (score.STEP,)))
    with _helped(job, helpers):
        score.score(job, redo)


def begin(job: Job, roles: Sequence[str] = ROLES) -> None:
    """Looks at everything that can be wrong, what is absent first."""
    require(job, roles)
    from vltk.capfilt.known import known
    from vltk.capfilt.models import Model

    for name, dataset in job.datasets.items():
        if not dataset.manifest["texts"]:
            _require_captioner(job, name)
            say(f"{name} has no texts: captions only")
    for role in roles:
        if (spec := getattr(job.options, role)) is not None:
            model = Model(role, spec, job)
            if role == "filter" and not is_helper():
                for told in known(model).told:
                    warn(told)


def _settle(job: Job, *steps: str) -> None:
    """Refuses what stands of these steps and the recipe would make otherwise; only then is the recipe written down."""
    from vltk.capfilt import caption, score
    from vltk.capfilt.provenance import Provenance

    provenance = Provenance(job)
    if caption.STEP in steps:
        provenance.refuse_captions()
    if score.STEP in steps:
        provenance.refuse_scores()
    if not is_helper():
        job.write()


def _require_captioner(job: Job, name: str) -> None:
    """Raises VltkError where nothing is written for the images of a data set without texts."""
    if job.options.data[name].human:
        raise VltkError(
            f"the data set {name} has no texts, which people would have written: leave out data.{name}.human"
        )
    if job.options.captioner is None:
        raise VltkError(
            f"the data set {name} has no texts, and no captioner writes any: captioner=RUN, or leave it out"
        )


def _helped(job: Job, helpers: Helpers) -> AbstractContextManager[None]:
    return helped(len(helpers), job.folder / "logs", 0.0, helpers)
