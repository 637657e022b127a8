"""A step of masked image modelling with codes from the disk against codes computed in the step, in turns in one run.

    python -m benchmarks.cached_codes --size tiny|base [--rounds 15] [--batch N] [--json]

`tiny` is the image stage of `recipes/flava-tiny.yaml`, `base` that of `recipes/flava.yaml` (ViT-B/16, the full dVAE).
Weights are random and pictures drawn, which cost as much as others. `benchmarks/README.md` says what is counted.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor

from benchmarks import _cli
from benchmarks.loader import draw
from vltk.data.dataset import open_dataset
from vltk.data.pixels import PixelCache
from vltk.data.stream import Stream
from vltk.recipe import Stage, load, plain
from vltk.run import RunFolder
from vltk.train.accumulate import run_step
from vltk.train.pretraining import merged_views, on_device
from vltk.train.setup import Setup, build

RECIPES = {"tiny": "flava-tiny", "base": "flava"}
BATCHES = {"tiny": 128, "base": 8}  # tiny: the recipe's; base: what two CPU cores do in some seconds
PICTURES = {"tiny": 256, "base": 32}
CROPS = 2
WAYS = ("computed", "from disk")
Seconds = dict[str, list[tuple[float, float]]]  # by way, of each round: making the batch, the step


def main() -> None:
    parser = _cli.parser(__doc__)
    parser.add_argument("--size", choices=list(RECIPES), default="tiny")
    parser.add_argument("--rounds", type=_cli.positive, default=15)
    parser.add_argument("--batch", type=_cli.positive, help=f"images a step; default: {BATCHES}")
    parser.add_argument("--threads", type=_cli.positive, default=2, help="of the loader")
    _cli.json_option(parser)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["VLTK_DATA"] = folder
        found = measure(options.size, options.rounds, options.batch or BATCHES[options.size], options.threads)
    print(table(found))
    _cli.last(found, options.json)


def measure(size: str, rounds: int, batch: int, threads: int) -> dict[str, Any]:
    """The conditions, seconds of every round, and what making the codes cost; data goes to `$VLTK_DATA`."""
    home = Path(os.environ["VLTK_DATA"])
    draw(max(PICTURES[size], batch))
    recipe = load(
        RECIPES[size],
        [
            "stages.image.streams.image.data=[drawn]", f"stages.image.streams.image.batch_size={batch}",
            f"stages.image.loader.threads={threads}", "stages.image.loader.codes=make",
            f"stages.image.image.crops={CROPS}", f"stages.image.steps={rounds + 2}",
        ],
    )  # fmt: skip
    tokenizer, folder = RunFolder(home / "runs" / "codes"), RunFolder(home / "runs" / "image")
    random_run(recipe.stages["codes"], tokenizer)
    folder.path.mkdir(parents=True)
    stage = recipe.stages["image"]
    start = time.perf_counter()
    setup = build("benchmark/image", stage, folder, {"codes": tokenizer})
    building = time.perf_counter() - start
    streams = {"computed": computed(setup, threads), "from disk": setup.loader.streams["image"]}
    for stream in streams.values():
        stream.pixels = PixelCache(0)  # nothing is kept decoded
    seconds: Seconds = {way: [] for way in WAYS}
    different = compared = 0
    codebook: Any = setup.helpers["codes"]
    for turn in range(rounds + 1):
        inputs: dict[str, list[dict[str, Tensor]]] = {}
        for way in WAYS if turn % 2 else WAYS[::-1]:
            inputs[way], *taken = step(setup, streams[way], turn)
            if turn:  # the first one warms up
                seconds[way].append((taken[0], taken[1]))
        for images, stored in zip(*(inputs[way] for way in WAYS), strict=True):
            same = codebook.codes(images["image_for_codes"]) == stored["codes"]
            different, compared = different + int((~same).sum()), compared + same.numel()
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    return {
        "size": size, "batch": batch, "rounds": rounds, "device": device, "precision": stage.precision,
        "load": os.getloadavg(), "seconds_to_build_and_make_codes": building,
        "images_coded": CROPS * len(open_dataset("drawn")), "seconds": seconds, "ratio": ratios(seconds),
        "codes_compared": compared, "codes_different": different,
    }  # fmt: skip


def random_run(stage: Stage, run: RunFolder) -> None:
    """A finished tokenizer that has learnt nothing."""
    run.path.mkdir(parents=True)
    torch.manual_seed(0)
    save_file({name: tensor.contiguous() for name, tensor in stage.model.build().state_dict().items()}, run.weights)
    run.recipe.write_text(yaml.safe_dump(plain(stage), sort_keys=False))
    run.note(status="finished")


def computed(setup: Setup, threads: int) -> Stream:
    """The same samples and crops, with images for the tokenizer instead of codes."""
    views = merged_views("image", setup.pretraining.of("image"))
    size, image = setup.stage.streams["image"].batch_size, setup.stage.image
    return Stream([open_dataset("drawn")], views, batch_size=size, image=image, threads=threads, name="image")


def step(setup: Setup, stream: Stream, number: int) -> tuple[list[dict[str, Tensor]], float, float]:
    """The batch; seconds to make it, and to compute with it: forward, backward, optimizer."""
    start = time.perf_counter()
    batches = stream.micro_batches(number)
    made = time.perf_counter()
    inputs = [on_device(batch.tensors, setup.engine.device) for batch in batches]
    run_step(setup.engine, setup.pretraining, "image", inputs, number, setup.stage.seed)
    setup.engine.step(setup.stage.optimizer.lr, "image")
    if setup.engine.device.type == "cuda":
        torch.cuda.synchronize()
    return inputs, made - start, time.perf_counter() - made


def ratios(seconds: Seconds) -> dict[str, float]:
    """How many times faster from disk: medians of the ratios within a round."""
    return {
        "step": _ratio([step for _, step in seconds["computed"]], [step for _, step in seconds["from disk"]]),
        "batch and step": _ratio(*([sum(pair) for pair in seconds[way]] for way in WAYS)),
    }


def _ratio(slow: Sequence[float], fast: Sequence[float]) -> float:
    return statistics.median(one / other for one, other in zip(slow, fast, strict=True))


def table(found: dict[str, Any]) -> str:
    """The figures as Markdown."""
    lines = [
        f"{found['size']}: {found['batch']} images a step, {found['precision']}, {found['device']}, "
        f"medians of {found['rounds']} rounds",
        "| codes | making the batch, ms | step, ms | both, ms | images/s |",
        "|---|---|---|---|---|",
    ]
    for way, pairs in found["seconds"].items():
        data, compute, both = (
            statistics.median(values) for values in ([a for a, _ in pairs], [b for _, b in pairs], map(sum, pairs))
        )
        cells = f"{1e3 * data:.1f} | {1e3 * compute:.1f} | {1e3 * both:.1f} | {found['batch'] / both:.1f}"
        lines.append(f"| {way} | {cells} |")
    lines.append(f"{found['codes_different']} of {found['codes_compared']:,} codes differ between the two")
    lines += [f"from disk, the {what} is {ratio:.2f} times as fast" for what, ratio in found["ratio"].items()]
    return "\n".join(lines)


if __name__ == "__main__":
    _cli.run(main)
