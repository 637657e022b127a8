"""What a run gets wrong: classes that it takes for one another, classes it seldom finds, and its worst samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vltk.data.image import BadImage, evaluation_image
from vltk.errors import VltkError
from vltk.eval.answers import Answers
from vltk.eval.evaluation import Evaluation
from vltk.eval.finetuning.plan import SMOKE_SAMPLES
from vltk.eval.sources import Library, Sample, Source
from vltk.report.galleries.examples import picture
from vltk.report.page import notice, table

PAIRS, CLASSES, SAMPLES = 8, 5, 12  # shown
SIDE = 112  # pixels of a thumbnail
TEXT = 160  # letters of a text
HALF = 50  # percent of the folds

Ints = NDArray[np.int64]
ANSWER = "answer"  # the fact of an open question that most people gave


@dataclass(frozen=True)
class Scored:
    """The samples that answers are about: of a split by position, with the names of their classes."""

    source: Source
    positions: Ints
    names: Sequence[str]

    def name(self, number: Any) -> str:
        """A class by its name, an answer as it is, a score with two digits."""
        if isinstance(number, np.floating | float):
            return f"{number:.2f}"
        if isinstance(number, np.integer | int) and 0 <= number < len(self.names):
            return str(self.names[int(number)])
        return str(number)


def shown(one: Evaluation, library: Library) -> str:
    """Confusions, classes and samples of a task; a notice where its samples cannot be read any more."""
    try:
        answers = next(iter(one.answers().values()), None)  # of the first metric that has some
        if answers is None:
            return ""
        scored = _scored(one, library)
        return _classes(answers, scored) + _samples(one, answers, scored)
    except VltkError as error:
        return notice(f"Not drawn: {error}")
    finally:
        library.forget()


def _scored(one: Evaluation, library: Library) -> Scored:
    """Raises VltkError where the data is not what was scored."""
    from vltk.eval.features import drawn

    said: Mapping[str, Any] = one.content["protocol"]
    tests = said.get("test", said.get("data"))  # the answers are to the first one
    data = tests if isinstance(tests, str) else next(iter(tests or []), None)
    if data is None:
        raise VltkError("its samples were held out of the training split")
    source = library.open(data)
    if source.fingerprint != one.content["data"][data]:
        raise VltkError(f"{data} is not what was scored: its files have changed")
    positions = drawn(len(source), _limit(said), int(one.content["seed"]), source.strata)
    names = getattr(source, "classes", None) or one.rows[0].get("detail", {}).get("names", [])
    return Scored(source, positions, names)


def _limit(said: Mapping[str, Any]) -> int | None:
    """Samples that were drawn; the smoke budget of a fine-tuning has a limit of its own."""
    limit: int | None = said.get("limit")
    return min(limit or SMOKE_SAMPLES, SMOKE_SAMPLES) if said.get("budget") == "smoke" else limit


def _classes(answers: Answers, scored: Scored) -> str:
    """What is taken for what, and the classes with the fewest right."""
    if "labels" not in answers.columns or answers["labels"].dtype.kind not in "iu":
        return ""
    labels = answers["labels"]
    sizes = dict(zip(*np.unique(labels, return_counts=True), strict=True))
    if "predicted" not in answers.columns:  # of probes over folds, each of which gives its own
        return f'<div class="beside">{_seldom(labels, answers["values"] / 100, sizes, scored)}</div>'
    predicted = answers["predicted"]
    wrong = labels != predicted
    pairs, counts = np.unique(np.stack([labels[wrong], predicted[wrong]]), axis=1, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:PAIRS]
    rows = [
        [
            escape(scored.name(pairs[0, at])),
            escape(scored.name(pairs[1, at])),
            f"{counts[at]:,}",
            f"{100 * counts[at] / sizes[pairs[0, at]]:.0f} %",
        ]
        for at in order
    ]
    found = table(["is", "taken for", "times", "of the class"], rows, numeric=(2, 3))
    taken = f"<div><h4>Taken for another</h4>{found}</div>" if rows else ""
    return f'<div class="beside">{taken}{_seldom(labels, ~wrong, sizes, scored)}</div>'


def _seldom(labels: Ints, hit: NDArray[Any], sizes: Mapping[Any, Any], scored: Scored) -> str:
    """The classes of which the smallest share is right; hit (N,): whether a sample is, or how often."""
    shares = {number: float(hit[labels == number].mean()) for number in sizes}
    worst = sorted(sizes, key=lambda number: shares[number])[:CLASSES]
    rows = [
        [
            escape(scored.name(number)),
            f"{100 * shares[number]:.0f} %",
            f'<span class="bar" style="--share:{shares[number]:.3f}"></span>',
            f"{sizes[number]:,}",
        ]
        for number in worst
    ]
    return f"<div><h4>Seldom found</h4>{table(['class', 'found', '', 'samples'], rows, numeric=(1, 3))}</div>"


def _samples(one: Evaluation, answers: Answers, scored: Scored) -> str:
    """The samples that it is most wrong about, the worst first."""
    order, told = _worst(answers)
    count = len(next(iter(answers.columns.values())))
    if count != len(scored.positions):
        raise VltkError(f"{count} answers to {len(scored.positions)} samples")
    crop = one.content["protocol"].get("framing") == "crop"
    figures = []
    for place in order[:SAMPLES].tolist():
        sample = scored.source.read(int(scored.positions[place]))
        figures.append(_figure(sample, "".join(_said(answers, scored, sample, place)), crop))
    if not figures:
        return ""
    return f'<h4>Worst samples</h4><p class="note">{told}</p><div class="samples">{"".join(figures)}</div>'


def _worst(answers: Answers) -> tuple[Ints, str]:
    """Places from the worst on, wrong ones alone, and in words how they are chosen."""
    columns = answers.columns
    if "margins" in columns:
        order = np.argsort(columns["margins"], kind="stable")
        if "predicted" not in columns:  # of probes over folds
            return order[columns["values"][order] < HALF], "Wrong in most folds, and the surest of it."
        wrong = columns["predicted"] != columns["labels"]
        return order[wrong[order]], "Wrong, and the surest of it: right answers are furthest behind the one given."
    if "ranks" in columns:
        order = np.argsort(-columns["ranks"], kind="stable")
        return order[columns["ranks"][order] > 0], "The right answer stands furthest down."
    if "values" in columns:
        return np.flatnonzero(columns["values"] == 0), "The first of those that no annotator agrees with."
    if "labels" in columns and columns["labels"].dtype.kind == "f":
        order = np.argsort(-np.abs(columns["predicted"] - columns["labels"]), kind="stable")
        return order, "Furthest from the score that people gave."
    if {"labels", "predicted"} <= set(columns):
        return np.flatnonzero(columns["predicted"] != columns["labels"]), "The first of those that are wrong."
    return np.empty(0, np.int64), ""


def _said(answers: Answers, scored: Scored, sample: Sample, place: int) -> Iterator[str]:
    """What was answered, and what is right."""
    columns = answers.columns
    if "predicted" in columns:
        right = columns["labels"][place] if "labels" in columns else sample.facts.get(ANSWER, "")
        yield f'<b class="miss">{escape(scored.name(columns["predicted"][place]))}</b>'
        yield f" for <b>{escape(scored.name(right))}</b>"
    elif {"labels", "values"} <= set(columns):
        share = f"{columns['values'][place]:.0f} % right"
        yield f'<b class="miss">{share}</b>, is <b>{escape(scored.name(columns["labels"][place]))}</b>'
    elif "ranks" in columns:
        yield f'right at <b class="miss">{int(columns["ranks"][place]) + 1:,}</b>'


def _figure(sample: Sample, told: str, crop: bool) -> str:
    image = ""
    if sample.image is not None:
        try:
            image = picture(evaluation_image(sample.image, SIDE, crop), sample.key, largest=SIDE)
        except BadImage as error:
            image = notice(str(error))
    text = " · ".join(sample.texts[:2])
    words = escape(text if len(text) <= TEXT else f"{text[:TEXT]}…")
    below = f"{told}<small>{words}</small><small>{escape(sample.key)}</small>"
    return f"<figure>{image}<figcaption>{below}</figcaption></figure>"
