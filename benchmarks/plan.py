"""What `vltk plan` predicts of joint training on this machine's processor, against training itself, for three sizes.

    python -m benchmarks.plan [--sizes tiny,base] [--steps 160]

Each size is calibrated (a few steps of each stream), predicted, and then trained by `vltk train` for so many steps.
Step time: median seconds by stream in the second half of the steps, from metrics.jsonl, waiting for data included: in
the first one kernels are made anew for lengths of text that were not met yet.
Memory: the largest resident set of the process at its last step, as the kernel reports it; beside the planned bytes
it holds what the calibration has told (libraries, kernels, the allocator), batches made ahead, and decoded images. Data
sets lie below $VLTK_DATA: `tiny` and `base` read `shapes` (vltk data fetch shapes), `flickr8k` what its recipe says.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any

from rich.table import Table

from vltk import launch

launch.before_torch()  # as `vltk train` does, whose steps are predicted

from benchmarks import _cli  # noqa: E402
from vltk.data.dataset import data_root  # noqa: E402
from vltk.errors import VltkError  # noqa: E402
from vltk.log import console  # noqa: E402
from vltk.plan import host  # noqa: E402
from vltk.plan.calibrate import BESIDE, TIMED, WARM, Calibration, calibrate  # noqa: E402
from vltk.plan.count import StageCount  # noqa: E402
from vltk.plan.make import counted  # noqa: E402
from vltk.plan.stage import How  # noqa: E402
from vltk.recipe import Recipe, load  # noqa: E402

ALONE = [  # the joint stage behind a tokenizer of a few steps
    "stages.image=null", "stages.text=null", "stages.codes.steps=4", "stages.codes.optimizer.warmup=1",
    "stages.joint.init=null", "stages.joint.evaluate=null", "log_every=1",
]  # fmt: skip
EQUAL = [f"stages.joint.streams.{stream}.weight=1" for stream in ("contrast", "pairs", "text", "image")]
WIDE = ["width=768", "heads=12", "mlp=3072"]
BASE = [
    *(f"stages.joint.model.{part}.{option}" for part in ("image", "text", "fusion") for option in WIDE),
    "stages.joint.model.image.depth=4", "stages.joint.model.text.depth=4", "stages.joint.model.fusion.depth=2",
    "stages.joint.model.image.image_size=224", "stages.joint.image.size=224", "stages.joint.model.embedding=768",
    *(f"stages.joint.streams.{stream}.batch_size=8" for stream in ("contrast", "pairs", "text", "image")),
]  # fmt: skip
SIZES = {"tiny": ("flava-tiny", []), "flickr8k": ("flava-flickr8k", []), "base": ("flava-tiny", BASE)}


def main() -> None:
    parser = _cli.parser(__doc__)
    parser.add_argument("--sizes", type=_cli.some_of(*SIZES), default=",".join(SIZES))
    parser.add_argument("--steps", type=_cli.positive, default=160)
    given = parser.parse_args()
    table = Table(title="predicted, measured, error", title_justify="left", title_style="")
    for column in ("size", "what", "predicted", "measured", "error"):
        table.add_column(column, justify="left" if column in ("size", "what") else "right")
    for size in given.sizes:
        name, overrides = SIZES[size]
        recipe = load(name, [*ALONE, *EQUAL, *overrides, *length(given.steps)])
        for what, predicted, measured, unit in compare(recipe, given.steps):
            error = f"{predicted / measured - 1:+.1%}"
            table.add_row(size, what, f"{predicted:.3f} {unit}", f"{measured:.3f} {unit}", error)
    console.print(table)


def length(steps: int) -> list[str]:
    """A checkpoint lies between, so that its memory counts."""
    return [
        f"stages.joint.steps={steps}",
        f"stages.joint.checkpoint.every={steps // 2}",
        "stages.joint.optimizer.warmup=1",
    ]


def compare(recipe: Recipe, steps: int) -> list[tuple[str, float, float, str]]:
    """(what, predicted, measured, unit): the time of a step of each stream, of their mean, and the memory."""
    every = {stage.name: stage for stage in counted(recipe, How(fused=False))}
    stage, calibration = every["joint"], calibrate(recipe, ["joint"])
    times, peak = trained(recipe)
    rows, predictions = [], {}
    for stream, seconds in times.items():
        pace = calibration.paces["joint", stream]
        predictions[stream] = pace.sample * stage.streams[stream].batch_size + pace.end
        rows.append((f"step of {stream}", predictions[stream], seconds, "s"))
    share = {stream: stage.streams[stream].share for stream in times}
    both = [sum(share[s] * seconds[s] for s in share) for seconds in (predictions, times)]
    return [*rows, ("mean step", *both, "s"), ("memory", predicted_memory(stage, calibration, steps), peak, "GiB")]


def predicted_memory(stage: StageCount, calibration: Calibration, steps: int) -> float:
    """GiB of the process after so many steps and a checkpoint."""
    run = calibration.usual["joint"]
    pictured = [stream for stream in stage.streams.values() if stream.name != "text"]
    images = sum(stream.share * steps * stream.batch_size for stream in pictured)
    seen = sum((WARM + TIMED + BESIDE) * run.samples[stream.name] for stream in pictured)
    pixels = host.pixels(run, int(images), seen)
    beside = host.unplanned(stage, run) + host.later_kernels(stage) + pixels
    return (host.at_most(stage, stage.stage.micro_batch) + beside) / 2**30


def trained(recipe: Recipe) -> tuple[dict[str, float], float]:
    """Median seconds of a step by stream, and the largest resident set in GiB at the last step, of `vltk train` in a
    folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "vltk", "train", str(recipe.path), *recipe.overrides]
        root = str(Path(__file__).parents[1])
        environment = os.environ | {"VLTK_DATA": str(data_root().resolve()), "PYTHONPATH": root}
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise VltkError(done.stderr[-2000:])
        lines = next(Path(folder).glob("runs/*/joint/metrics.jsonl")).read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    return medians(rows, recipe), max(row["memory_gb"] for row in rows)


def medians(rows: list[dict[str, Any]], recipe: Recipe) -> dict[str, float]:
    """Of rows of one step each: seconds by stream in the second half of its steps."""
    seconds = defaultdict(list)
    for row in rows:
        size = recipe.stages["joint"].streams[row["stream"]].batch_size
        seconds[row["stream"]].append(size / row["samples_per_s"])
    return {stream: median(values[len(values) // 2 :]) for stream, values in seconds.items()}


if __name__ == "__main__":
    _cli.run(main)
