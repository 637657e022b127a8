"""A stream: the batches of one mixture entry, by position. The n-th step of a stream is a pure function of
(seed, attempt, n); ranks, micro-batches and threads only say who makes which part of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np

from vltk.data.batch import Batch, Filling
from vltk.data.dataset import Dataset, Sample
from vltk.data.draft import Draft
from vltk.data.image import BadSample, ImageLike
from vltk.data.pixels import PixelCache
from vltk.data.reading import Job, Reading
from vltk.errors import VltkError
from vltk.parts import choose

if TYPE_CHECKING:
    from vltk.data.text import Tokenizer

GRACE = 1000  # samples: below this many seen, the bad rate is measured as if so many had been
TRIES = 100  # substitutes in a row before the data set is given up
CHUNK = 8  # samples a thread takes at a time

Place = tuple[Filling, int]  # a micro-batch in the making, and the row of it
Made = tuple[str, list[dict[str, Any]]]  # key, what was bad on the way


class Stream:
    """`micro_batches(n)`: this rank's micro-batches of the stream's n-th step.

    `batch_size` counts the samples of a step over all ranks; rank r makes the r-th of `world` equal slices, cut into
    the fewest micro-batches of at most `micro_batch` samples, as equal as they can be. Sample j of step n stands at
    position n * batch_size + j; which sample that is, `weights` (one a data set) and `window` decide (`Reading`).
    `attempt` gives the same stream with other draws throughout, for a run that begins
    again at an equal seed. A bad sample is replaced by the next good one of its data set and given to `on_bad` as
    {step, stream, dataset, key, position, reason}. VltkError once more than `max_bad_rate` of the samples that this
    stream has made so far, or of 1000 while they are fewer, were bad.
    """

    def __init__(
        self,
        datasets: Sequence[Dataset],
        views: dict[str, dict[str, Any]],
        *,
        batch_size: int,
        micro_batch: int | None = None,
        seed: int = 0,
        attempt: int = 0,
        rank: int = 0,
        world: int = 1,
        image: ImageLike,
        tokenizer: Tokenizer | None = None,
        max_length: int | None = None,
        threads: int = 1,
        max_bad_rate: float = 0.001,
        on_bad: Callable[[dict[str, Any]], None] = lambda bad: None,
        name: str = "stream",
        pixels: PixelCache | None = None,
        weights: Sequence[float] | None = None,
        window: int | None = None,
    ) -> None:
        if batch_size % world:
            raise VltkError(f"stream {name}: batch_size {batch_size} cannot be shared equally by {world} devices")
        self.datasets, self.name, self.batch_size = list(datasets), name, batch_size
        self.makers = _makers(views)
        self._check_data()
        self.key = (seed, attempt, name)
        self.reading = Reading(datasets, weights, window, self.key, name)
        self.slices = slices_of(batch_size, micro_batch, rank, world)
        check_groups(name, self.makers, batch_size, self.slices)
        self.image, self.tokenizer, self.max_length = image, tokenizer, max_length
        self.max_bad_rate, self.on_bad = max_bad_rate, on_bad
        self.seen = self.bad = 0
        self.pixels = pixels or PixelCache()
        self.threads = ThreadPoolExecutor(threads, thread_name_prefix=f"vltk-{name}") if threads > 1 else None

    def _check_data(self) -> None:
        """Every data set has what the views read; text views have a tokenizer (asked when the first is made)."""
        for view, maker in self.makers.items():
            for dataset in self.datasets:
                for kind, has in (("image", dataset.has_images), ("text", dataset.has_texts)):
                    if kind in maker.needs and not has:
                        raise VltkError(
                            f"stream {self.name}: the data set {dataset.name!r} has samples without {kind}, "
                            f"which the view {view!r} reads: take another data set, or other objectives"
                        )

    def micro_batches(self, n: int) -> list[Batch]:
        """The n-th step of the stream, this rank's part. Raises VltkError when too many samples are bad."""
        step = range(n * self.batch_size, (n + 1) * self.batch_size)
        mine = [step[one.start : one.stop] for one in self.slices]
        fillings = [Filling(len(one)) for one in mine]
        places = [(filling, row) for filling in fillings for row in range(filling.size)]
        jobs = self.reading.jobs(np.concatenate([np.arange(one.start, one.stop) for one in mine]))
        made = self._make_all(list(zip(jobs, places, strict=True)), step)
        self._count(n, made)
        pad, most = (self.tokenizer.pad, self.max_length or self.tokenizer.max_length) if self.tokenizer else (0, 0)
        cuts = [0, *accumulate(len(one) for one in mine)]
        parts = [[key for key, _ in made[start:stop]] for start, stop in zip(cuts, cuts[1:], strict=False)]
        return [filling.batch(keys, pad, most) for filling, keys in zip(fillings, parts, strict=True)]

    def _make_all(self, jobs: list[tuple[Job, Place]], step: range) -> list[Made]:
        if self.threads is None:
            return [self._make(job, place, step) for job, place in jobs]
        chunks = [jobs[start : start + CHUNK] for start in range(0, len(jobs), CHUNK)]
        made = self.threads.map(lambda chunk: [self._make(job, place, step) for job, place in chunk], chunks)
        return [one for chunk in made for one in chunk]

    def _make(self, job: Job, place: Place, step: range) -> Made:
        """The sample of a job, or the next good one of its data set, into its row of a batch."""
        dataset, (filling, row) = job.dataset, place
        bad: list[dict[str, Any]] = []
        for offset in range(min(TRIES, len(dataset))):
            index = (job.index + offset) % len(dataset)
            sample = dataset.read(index)
            try:
                filling.put(row, self._views(sample, dataset, job.position, (job.epoch, index), step))
                return f"{dataset.name}/{sample.key}", bad
            except BadSample as reason:
                key = sample.key
                bad.append({"dataset": dataset.name, "key": key, "position": job.position, "reason": str(reason)})
        raise VltkError(f"data set {dataset.name}: {len(bad)} bad samples in a row, the last one: {bad[-1]['reason']}")

    def _views(
        self, sample: Sample, dataset: Dataset, position: int, place: tuple[int, int], step: range
    ) -> dict[str, np.ndarray]:
        draft = Draft(
            sample,
            dataset,
            key=self.key,
            position=position,
            place=place,
            step_positions=step,
            decoded=self.pixels.decoded,
            image=self.image,
            tokenizer=self.tokenizer,
            max_length=self.max_length,
        )
        views: dict[str, np.ndarray] = {}
        for view, maker in self.makers.items():
            views.update(maker(draft, partial(draft.rng, view)))
        return views

    def _count(self, n: int, made: list[Made]) -> None:
        self.seen += len(made)
        for _, bad in made:
            for one in bad:
                self.bad += 1
                self.on_bad({"step": n, "stream": self.name, **one})
        if self.bad > self.max_bad_rate * max(self.seen, GRACE):
            last = [one for _, bad in made for one in bad][-1]
            raise VltkError(
                f"stream {self.name}, its step {n}: {self.bad} of {self.seen} samples are bad, more than max_bad_rate "
                f"{self.max_bad_rate:g} allows; the last one: {last['dataset']}/{last['key']}: {last['reason']}\n"
                f"Mend or leave out these samples (bad_samples.jsonl lists them), or set loader.max_bad_rate."
            )

    def close(self) -> None:
        """End the stream's threads."""
        if self.threads is not None:
            self.threads.shutdown(cancel_futures=True)


def keep_decoded(streams: Mapping[str, Stream], budget: int) -> None:
    """Pictures of so many bytes, of all these streams together, stay decoded from now on, and none of those before."""
    pixels = PixelCache(budget)
    for stream in streams.values():
        stream.pixels = pixels


def _makers(views: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """View makers by view name; those that change the sample run first."""
    made = {}
    for name, options in views.items():
        rest = dict(options)
        made[name] = choose("data/views", rest.pop("maker"), **rest).build()
    return dict(sorted(made.items(), key=lambda item: not getattr(item[1], "changes_sample", False)))


def check_groups(name: str, makers: Mapping[str, Any], batch_size: int, slices: Sequence[range]) -> None:
    """Raises VltkError where a micro-batch would hold a part of a group of samples that a view wants in one piece."""
    for view, maker in makers.items():
        group = min(getattr(maker, "together", 1), batch_size)
        if odd := next((len(one) for one in slices if len(one) % group), None):
            raise VltkError(
                f"stream {name}: micro-batches of {odd} samples, but the view {view!r} wants groups of {group} of the "
                f"step's {batch_size} in one piece: set micro_batch to a multiple of {group}, take so many devices "
                f"that each has a multiple of {group}, or make the groups smaller (among)"
            )


def slices_of(batch_size: int, micro_batch: int | None, rank: int, world: int) -> list[range]:
    """The samples of a step that each micro-batch of a rank holds, as ranges within the step."""
    local = batch_size // world
    count = -(-local // min(micro_batch or local, local))
    cuts = [rank * local + local * part // count for part in range(count + 1)]
    return [range(start, stop) for start, stop in zip(cuts, cuts[1:], strict=False)]
