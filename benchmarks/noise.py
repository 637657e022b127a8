"""Does a filter find captions that do not belong to their images? Captions deranged on purpose, and what it says of it.

    python -m benchmarks.noise make shapes/train noisy/train --share 0.4
    vltk capfilt score noisy.yaml                            # a job with a filter, of noisy/train, noisy/dev
    python -m benchmarks.noise find noisy.yaml --calibrate noisy/dev

`make` writes a data set where that share of the images has the captions of others; the field `noisy` says which.
`find` reads the scores of a job: AUROC and F1 of finding noise at a threshold, the share that is rejected, and the
share of noise that follows, (rejected - f) / (t - f), where t and f are the shares of the noise and of the clean texts
that the filter rejects on the data set `--calibrate`; with 95 % intervals over resampled images of both.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import _cli
from vltk.capfilt import job as jobs
from vltk.capfilt import score
from vltk.capfilt.rules._contract import WEB
from vltk.data.dataset import Dataset, dataset_folder, open_dataset
from vltk.data.record import Record
from vltk.data.shard import write_dataset
from vltk.eval.metrics.correlation import roc_auc
from vltk.eval.statistics.resample import draws

NOISY = "noisy"
RESAMPLES = 1000


def main() -> None:
    parser = _cli.parser(__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    making = verbs.add_parser("make")
    making.add_argument("source")
    making.add_argument("name")
    making.add_argument("--share", type=float, required=True)
    making.add_argument("--seed", type=int, default=0)
    making.add_argument("--captions", type=_cli.positive, help="only so many of an image, as web images have one")
    making.add_argument("--images", type=_range, default=slice(None), metavar="FROM:TO", help="these images alone")
    finding = verbs.add_parser("find")
    finding.add_argument("recipe")
    finding.add_argument("overrides", nargs="*")
    finding.add_argument("--calibrate")
    finding.add_argument("--by", choices=["itm", "itc"], default="itm", help="probability of a match, or cosine")
    finding.add_argument("--threshold", type=float, default=0.5)
    _cli.json_option(finding)
    given = parser.parse_args()
    if given.verb == "make":
        records = deranged(given.source, given.share, given.seed, given.captions, given.images)
        made = write_dataset(dataset_folder(given.name), records, {"kind": NOISY})
        print(f"{given.name}: {made.samples:,} samples, {round(given.share * made.samples):,} with captions of others")
        return
    show(found(given.recipe, given.overrides, given.calibrate, given.threshold, given.by), given.json)


def _range(text: str) -> slice:
    first, colon, end = text.partition(":")
    if not colon:
        raise argparse.ArgumentTypeError(f"{text}: should be FROM:TO, FROM: or :TO")
    return slice(int(first or 0), int(end) if end else None)


def deranged(
    source: str, share: float, seed: int, captions: int | None = None, images: slice = slice(None)
) -> Iterator[Record]:
    """The samples of a data set with their first `captions`; `share` of them, drawn by the seed, pass these round."""
    dataset = open_dataset(source)
    rng = np.random.default_rng(seed)
    positions = np.arange(len(dataset))[images]
    chosen = rng.permutation(positions)[: round(share * len(positions))]
    giver = dict(zip(chosen.tolist(), np.roll(chosen, 1).tolist(), strict=True))
    for position in positions.tolist():
        sample = dataset.read(position)
        texts = dataset.read(giver[position]).texts if position in giver else sample.texts
        yield Record(sample.key, sample.image, texts[:captions], sample.meta | {NOISY: position in giver})


@dataclass(frozen=True)
class Judged:
    """The web texts of a data set: score, whether they are noise, and their images by number (N,)."""

    score: NDArray[np.float64]
    noisy: NDArray[np.bool_]
    image: NDArray[np.int64]

    def rejected(self, threshold: float, counts: Any, of: Any = None) -> Any:
        """Share of the texts below the threshold, of `of` or of all; counts (..., I): how often each image is drawn."""
        weight = counts[..., self.image] * (1 if of is None else of)
        return (weight * (self.score < threshold)).sum(-1) / np.maximum(weight.sum(-1), 1)


def read(job: jobs.Job, name: str, by: str) -> Judged:
    rows: list[tuple[float, bool, int]] = []
    for shard in job.shards:
        if shard.dataset.name == name:
            noise = {key: noisy for key, noisy in _labels(shard.dataset, shard.positions)}
            for image, (key, texts) in enumerate(score.tables(job).by_key(shard.name), len(rows)):
                rows += [(row[by], noise[key], image) for row in texts if row["source"] == WEB]
    given, noisy, image = zip(*rows, strict=True)
    return Judged(np.array(given), np.array(noisy), np.unique(image, return_inverse=True)[1])


def _labels(dataset: Dataset, positions: range) -> Iterator[tuple[str, bool]]:
    for position in positions:
        sample = dataset.read(position)
        yield sample.key, bool(sample.meta[NOISY])


def found(recipe: str, overrides: list[str], calibrate: str | None, threshold: float, by: str) -> list[dict[str, Any]]:
    """A row a data set."""
    job = jobs.load(recipe, overrides, force=True)
    rows = []
    for name in job.options.data:
        own = read(job, name, by)
        row = {"data": name, "texts": len(own.score), "noise": 100 * own.noisy.mean(), **_finding(own, threshold)}
        if calibrate is not None and calibrate != name:
            row |= _estimate(own, read(job, calibrate, by), threshold)
        rows.append(row)
    return rows


def _finding(own: Judged, threshold: float) -> dict[str, Any]:
    """Noise is what is to be found: rejected and noisy is right."""
    rejected = own.score < threshold
    hits = int((rejected & own.noisy).sum())
    f1 = 100 * 2 * hits / max(1, int(rejected.sum()) + int(own.noisy.sum()))
    auroc = roc_auc(-own.score, own.noisy.astype(int)) if 0 < own.noisy.mean() < 1 else None
    return {"auroc": auroc, "f1": f1, "rejected": 100 * rejected.mean()}


def _estimate(own: Judged, known: Judged, threshold: float) -> dict[str, Any]:
    """The share of noise from the share that is rejected, and its interval over images of both."""
    every = [np.ones(one.image.max() + 1, np.int64) for one in (own, known)]
    value = _corrected(own, known, threshold, *every)
    parts = [draws(np.zeros(len(one)), RESAMPLES, seed) for seed, one in enumerate(every)]
    drawn = np.concatenate([_corrected(own, known, threshold, *pair) for pair in zip(*parts, strict=False)])
    low, high = np.quantile(drawn, [0.025, 0.975])
    return {"estimate": 100 * float(value), "low": 100 * float(low), "high": 100 * float(high)}


def _corrected(own: Judged, known: Judged, threshold: float, mine: Any, theirs: Any) -> Any:
    count = min(len(mine), len(theirs)) if mine.ndim == 2 else None
    mine, theirs = (mine, theirs) if count is None else (mine[:count], theirs[:count])
    right = known.rejected(threshold, theirs, known.noisy)
    wrong = known.rejected(threshold, theirs, ~known.noisy)
    return np.clip((own.rejected(threshold, mine) - wrong) / np.maximum(right - wrong, 1e-9), 0, 1)


def show(rows: list[dict[str, Any]], as_json: bool) -> None:
    print("| data | texts | noise % | AUROC | F1 | rejected % | estimated noise % | 95 % |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for row in rows:
        auroc = "" if row["auroc"] is None else f"{row['auroc']:.1f}"
        told = ["", ""]
        if "estimate" in row:
            told = [f"{row['estimate']:.1f}", f"{row['low']:.1f} to {row['high']:.1f}"]
        cells = [
            row["data"],
            f"{row['texts']:,}",
            f"{row['noise']:.1f}",
            auroc,
            f"{row['f1']:.1f}",
            f"{row['rejected']:.1f}",
        ]
        print(f"| {' | '.join([*cells, *told])} |")
    _cli.last({"rows": rows}, as_json)


if __name__ == "__main__":
    _cli.run(main)
