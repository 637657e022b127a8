"""How the time and memory of a step grow with batch, text length, image size and depth, and the loader with the data.

    python -m benchmarks.growth [--rounds 5] [--threads 2] [--json]

One row for each thing that grows, and the exponent fitted over all of its sizes but the smallest: 1 is linear.
`benchmarks/README.md` says what is measured.
"""

from __future__ import annotations

import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vltk import launch

launch.before_torch()  # as `vltk train` does, whose steps these are
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "8192")  # kernels: of the steps of all sizes, in one process

import numpy as np  # noqa: E402
import simplejpeg  # noqa: E402
import torch  # noqa: E402

from benchmarks import _cli  # noqa: E402
from benchmarks.steps import DRAWN, SIZES, Ours  # noqa: E402
from vltk.data.dataset import data_root, open_dataset  # noqa: E402
from vltk.data.shard import Record, write_dataset  # noqa: E402
from vltk.data.stream import Stream  # noqa: E402
from vltk.recipe import ImageOptions  # noqa: E402

TINY = SIZES["tiny"]
WARM = DRAWN  # turns that are not counted: each batch once
BATCHES, LENGTHS, IMAGES, DEPTHS, SAMPLES = (
    (8, 16, 32, 64),
    (16, 32, 64, 128, 256),
    (64, 112, 160, 224),
    (2, 4, 8, 16),
    (1_000, 10_000, 30_000, 100_000),
)
Build = Callable[[], Ours]


def main() -> None:
    parser = _cli.parser(__doc__)
    parser.add_argument("--rounds", type=_cli.positive, default=5)
    parser.add_argument("--threads", type=_cli.positive, default=2)
    _cli.json_option(parser)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    found = {what: steps(*row, given.rounds) for what, row in rows().items()}
    found["samples of the data; MiB of index files"] = loading(given.rounds)
    print(table(found))
    _cli.last(found, given.json)


def rows() -> dict[str, tuple[list[int], list[Build]]]:
    """By what grows: the sizes, and a step of each at the width of `tiny`."""
    return {
        "batch of pairs": (list(BATCHES), [lambda n=n: Ours(TINY, "pairs", n) for n in BATCHES]),  # type: ignore[misc]
        "tokens of a text": (
            list(LENGTHS),
            [lambda n=n: Ours(TINY, "text", 16, length=n) for n in LENGTHS],  # type: ignore[misc]
        ),
        "patches of an image": (
            [replace(TINY, image=side).patches for side in IMAGES],
            [lambda n=n: Ours(replace(TINY, image=n, hidden=(n // 16) ** 2 * 2 // 5), "image", 16) for n in IMAGES],  # type: ignore[misc]
        ),
        "layers of an image encoder": (
            list(DEPTHS),
            [lambda n=n: Ours(replace(TINY, image_depth=n), "image", 16) for n in DEPTHS],  # type: ignore[misc]
        ),
    }


def steps(sizes: list[int], builds: list[Build], rounds: int) -> dict[str, Any]:
    """Seconds of a step (median) and MiB kept for backward at each size, in turns, and the exponents."""
    made = [build() for build in builds]
    kept = [one.kept() for one in made]
    seconds: list[list[float]] = [[] for _ in made]
    for turn in range(-WARM, rounds):
        for one, spent in zip(made, seconds, strict=True):
            start = time.perf_counter()
            one.step()
            if turn >= 0:
                spent.append(time.perf_counter() - start)
    return _grown(sizes, [statistics.median(spent) for spent in seconds], kept)


def loading(rounds: int) -> dict[str, Any]:
    """Seconds to open a data set and make its first batch, and MiB of its index files, by the number of samples; the
    first time is not counted."""
    seconds, held = [], []
    for count in SAMPLES:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["VLTK_DATA"] = folder
            _small_data(count)
            taken = []
            for _ in range(1 + rounds):
                start = time.perf_counter()
                views = {"image": {"maker": "image"}}
                stream = Stream([open_dataset("small")], views, batch_size=16, image=ImageOptions(size=64), threads=1)
                stream.micro_batches(0)
                taken.append(time.perf_counter() - start)
            seconds.append(statistics.median(taken[1:]))
            held.append(sum(path.stat().st_size for path in Path(folder).rglob("*.idx")) / 2**20)
    return _grown(list(SAMPLES), seconds, held)


def _small_data(count: int) -> None:
    """So many samples of one small picture: few bytes, and an index as long as of any other."""
    picture = simplejpeg.encode_jpeg(np.zeros((64, 64, 3), np.uint8))
    records = (Record(f"{number:06d}", picture, ["a picture"]) for number in range(count))
    write_dataset(data_root() / "small", records, {"kind": "benchmark"})


def _grown(sizes: list[int], seconds: list[float], memory: list[float]) -> dict[str, Any]:
    exponents = {"seconds": exponent(sizes, seconds), "mib": exponent(sizes, memory)}
    return {"sizes": sizes, "seconds": seconds, "mib": memory, "exponents": exponents}


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """k of values ~ sizes ** k, least squares of the logarithms over all sizes but the smallest."""
    xs, ys = ([math.log(value) for value in some[1:]] for some in (sizes, values))
    return statistics.linear_regression(xs, ys).slope


def table(found: dict[str, Any]) -> str:
    """The figures as Markdown."""
    lines = ["| what grows | sizes | ms | MiB | exponent of time | of memory |", "|---|---|---|---|---|---|"]
    for what, row in found.items():
        ms, mib = (
            ", ".join(f"{value:.3g}" for value in values) for values in ([1e3 * s for s in row["seconds"]], row["mib"])
        )
        exponents = row["exponents"]
        sizes = ", ".join(map(str, row["sizes"]))
        lines.append(f"| {what} | {sizes} | {ms} | {mib} | {exponents['seconds']:.2f} | {exponents['mib']:.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    _cli.run(main)
