"""Samples a second and core of our loader, of the usual one, and of decoding and cropping alone, in turns in one run.

    python -m benchmarks.loader [--data NAME] [--samples 1000] [--rounds 7] [--json]

Without `--data` it draws pictures (short side 256, JPEG quality 90) into a throw-away folder. Times are CPU seconds of
this process over all its threads, which other jobs on the machine disturb least; the table shows medians over rounds
and the median of the ratios within a round. `benchmarks/README.md` says what each row does.
"""

from __future__ import annotations

import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from benchmarks import _cli

SIZE, BATCH = 224, 64
WORDS = ["a", "the", "red", "blue", "dog", "cat", "ball", "tree", "runs", "sits", "on", "under", "grass", "house"]
OPTIONS = SimpleNamespace(
    size=SIZE, crop=(0.9, 1.0), ratio=(0.75, 4 / 3), flip=True, color=0.0, randaugment=None, crops=None
)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
Run = Callable[[int], int]  # samples to make (about) -> samples made


def main() -> None:
    parser = _cli.parser(__doc__)
    parser.add_argument("--data", help="a data set with images; default: drawn")
    parser.add_argument("--samples", type=_cli.positive, default=1000, help="of each turn")
    parser.add_argument("--rounds", type=_cli.positive, default=7)
    parser.add_argument("--steps", type=_cli.whole, default=60, help="of training at the tiny size; 0: not measured")
    _cli.json_option(parser)
    options = parser.parse_args()
    with ExitStack() as held:
        if options.data is None:
            folder = held.enter_context(tempfile.TemporaryDirectory())
            os.environ["VLTK_DATA"] = folder
            options.data = draw(2000)
        found = measure(options.data, options.samples, options.rounds)
        _table(found["seconds"])
        if options.steps:
            found["data_wait"] = data_wait(options.data, options.steps)
    _cli.last(found, options.json)


def draw(count: int) -> str:
    """A data set of smooth noise with detail, of sizes as photos have, about 27 KB each, with captions."""
    import cv2
    import simplejpeg

    from vltk.data.dataset import data_root
    from vltk.data.shard import Record, write_dataset

    def records() -> Iterator[Record]:
        for number in range(count):
            rng = np.random.default_rng(number)
            width = int(rng.integers(256, 400))
            pixels = sum(
                cv2.resize(
                    rng.normal(0, sigma, (grid, grid, 3)).astype(np.float32),
                    (width, 256),
                    interpolation=cv2.INTER_CUBIC,
                )
                for grid, sigma in ((4, 40), (16, 20), (64, 8), (200, 2))
            )
            image = np.clip(pixels + 128, 0, 255).astype(np.uint8)
            yield Record(f"{number:06d}", simplejpeg.encode_jpeg(image, quality=90), [" ".join(rng.choice(WORDS, 8))])

    write_dataset(data_root() / "drawn", records(), {"kind": "benchmark"}, samples_per_shard=500)
    return "drawn"


def measure(data: str, samples: int, rounds: int) -> dict[str, Any]:
    """The conditions, and seconds a sample of every round."""
    import torch

    torch.set_num_threads(1)
    runs: dict[str, Run] = {
        "decode and crop alone": alone(data),
        "vltk, 1 thread": ours(data, 1),
        "vltk, 2 threads": ours(data, 2),
        "vltk, 1 thread, randaugment [2, 5]": ours(data, 1, (2, 5)),
        "webdataset + PIL + float32": usual(data),
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():  # warm
        run(BATCH)
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.process_time()
            made = run(samples)
            seconds[name].append((time.process_time() - start) / made)
    return {"samples": samples, "load": os.getloadavg(), "seconds": seconds}


def _table(seconds: dict[str, list[float]]) -> None:
    first, last = list(seconds)[0], list(seconds)[-1]
    print(
        f"| pipeline | ms a sample | samples/s and core | time against {first} | speed against {last} |\n"
        "|---|---|---|---|---|"
    )
    for name, times in seconds.items():
        against = statistics.median(mine / other for mine, other in zip(times, seconds[first], strict=True))
        ahead = statistics.median(other / mine for mine, other in zip(times, seconds[last], strict=True))
        median = statistics.median(times)
        print(f"| {name} | {1e3 * median:.3f} | {1 / median:,.0f} | {against:.2f} | {ahead:.2f} |")


def alone(data: str) -> Run:
    """Encoded bytes that lie in memory to a crop, one after the other; nothing is kept."""
    from vltk.data.dataset import open_dataset
    from vltk.data.image import crop_box, decode, take

    dataset = open_dataset(data)
    images = [image for n in range(min(len(dataset), 2000)) if (image := dataset.read(n).image) is not None]
    turn = itertools.cycle(images)

    def run(samples: int) -> int:
        rng = np.random.default_rng(0)
        for image in itertools.islice(turn, samples):
            pixels = decode(image)
            take(pixels, crop_box(*pixels.shape[:2], OPTIONS, rng), SIZE)
        return samples

    return run


def ours(data: str, threads: int, randaugment: tuple[int, float] | None = None) -> Run:
    """A stream of ours: shuffled reads from the tars, crop, RandAugment where asked for, uint8 batch."""
    from vltk.data.dataset import open_dataset
    from vltk.data.pixels import PixelCache
    from vltk.data.stream import Stream

    views, image = {"image": {"maker": "image"}}, SimpleNamespace(**vars(OPTIONS) | {"randaugment": randaugment})
    stream = Stream([open_dataset(data)], views, batch_size=BATCH, image=image, threads=threads, pixels=PixelCache(0))
    step = itertools.count()

    def run(samples: int) -> int:
        return sum(batch.size for _ in range(-(-samples // BATCH)) for batch in stream.micro_batches(next(step)))

    return run


def usual(data: str) -> Run:
    """webdataset with a shuffle buffer, PIL, a bicubic random resized crop, float32 in the worker."""
    import torch
    import webdataset
    from PIL import Image

    from vltk.data.dataset import open_dataset
    from vltk.data.image import crop_box

    rng = np.random.default_rng(0)
    mean, std = torch.tensor(MEAN)[:, None, None], torch.tensor(STD)[:, None, None]

    def transform(image: Image.Image) -> torch.Tensor:
        box = crop_box(image.height, image.width, OPTIONS, rng)
        edges = (box.left, box.top, box.left + box.width, box.top + box.height)
        image = image.resize((SIZE, SIZE), Image.Resampling.BICUBIC, box=edges)
        if box.flip:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float().div(255)  # as torchvision
        return tensor.sub_(mean).div_(std)

    dataset = open_dataset(data)
    urls = [str(dataset.store.place(shard)) for shard in range(len(dataset.shard_sizes))]
    source = webdataset.WebDataset(urls, shardshuffle=len(urls), seed=0).repeat().shuffle(500).decode("pilrgb")
    batches = iter(source.to_tuple("jpg").map_tuple(transform).batched(BATCH))

    def run(samples: int) -> int:
        return sum(len(next(batches)[0]) for _ in range(-(-samples // BATCH)))

    return run


def data_wait(data: str, steps: int) -> list[float]:
    """Trains clip-tiny on the data; prints the share of the time that its steps wait for it, but for the first ten."""
    from vltk.data.dataset import data_root
    from vltk.data.vocabulary import train_vocabulary

    with tempfile.TemporaryDirectory() as folder:
        vocab = Path(folder) / "vocab.txt"
        train_vocabulary([data], 300, vocab)
        overrides = [
            f"streams.pairs.data=[{data}]", f"tokenizer.vocab={vocab}", f"steps={steps}", "log_every=10",
            "evaluate.every=null", "evaluate.tasks.dev=null", "evaluate.best=null",
        ]  # fmt: skip
        command = [sys.executable, "-m", "vltk", "train", "clip-tiny", *overrides]
        root = Path(__file__).parents[1]
        environment = os.environ | {"VLTK_DATA": str(data_root().resolve()), "PYTHONPATH": str(root)}
        subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
        lines = (Path(folder) / "runs/clip-tiny/train/metrics.jsonl").read_text().splitlines()
    waits = [json.loads(line)["data_wait"] for line in lines][1:]
    print(f"data wait of clip-tiny, {steps} steps: median {statistics.median(waits):.2%}, largest {max(waits):.2%}")
    return waits


if __name__ == "__main__":
    _cli.run(main)
