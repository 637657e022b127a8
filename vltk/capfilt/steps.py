"""The steps of a job one behind the other. What is missing or wrong is said before the first one begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from vltk.capfilt.job import Job, require
from vltk.eval.workers import helped, is_helper
from vltk.log import say, warn


def run(job: Job, redo: bool = False, replace: bool = False, helpers: Sequence[Mapping[str, str]] = ()) -> Path | None:
    """Captions, scores, selects and packs; the folder of the new data set. None in a process that helps another.

    `helpers`: the environment of each further process that captions and scores.
    Raises Missing with all that is absent, VltkError for what does not fit.
    """
    from vltk.capfilt import pack, select

    begin(job, replace)
    with helped(len(helpers), job.folder / "logs", 0.0, helpers):
        caption_and_score(job, redo)
    if is_helper():
        return None
    select.select(job)
    return pack.pack(job, replace)


def begin(job: Job, replace: bool = False, output: bool = True) -> None:
    """Looks at everything that can be wrong; writes the resolved recipe."""
    from vltk.capfilt import pack
    from vltk.capfilt.models import Model

    require(job)
    if output:
        pack.refuse_output(job, replace)
    for name, dataset in job.datasets.items():
        if not dataset.manifest["texts"]:
            say(f"{name} has no texts: captions only")
    for role in ("captioner", "filter"):
        if (spec := getattr(job.options, role)) is not None:
            warn_of_seen(Model(role, spec, job))
    if not is_helper():
        job.write()


def caption_and_score(job: Job, redo: bool) -> None:
    from vltk.capfilt import caption, score

    caption.caption(job, redo)
    score.score(job, redo)


def warn_of_seen(model: object) -> None:
    """A filter that was trained on a text finds it good (zoo of BLIP: it agrees with what it has seen)."""
    from vltk.capfilt.models import Model, seen_in_training

    assert isinstance(model, Model)
    seen = [name for name in seen_in_training(model) if not model.job.options.data[name].human]
    if seen and model.role == "filter":
        warn(f"the filter {model.spec} was trained on {', '.join(seen)}, which it is to judge: it knows these pairs")
