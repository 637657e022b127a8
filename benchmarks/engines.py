"""The DeepSpeed engine against plain torch: the same steps of FLAVA on one process each, in turns in one run.

    python -m benchmarks.engines [--size base] [--stream pairs] [--batch n] [--stages 0,1,2,3] [--rounds 5] [--json]

Same weights, same samples, bf16 autocast, fused AdamW, as `benchmarks.train_step` has them.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch

from benchmarks.steps import SIZES, Ours
from benchmarks.train_step import STREAMS, WARM
from benchmarks.turns import Contestant, in_turns


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=list(SIZES), default="base")
    parser.add_argument("--stream", choices=STREAMS, default="pairs")
    parser.add_argument("--batch", type=int, help="samples a step")
    parser.add_argument("--stages", default="0,1,2,3", help="of ZeRO, each against plain torch")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="one JSON object a row, no table")
    given = parser.parse_args()
    size, count = given.size, given.batch or SIZES[given.size].batch
    if not given.json:
        print(
            f"{given.size} {given.stream}, {count} samples a step, {given.threads} threads, torch {torch.__version__}"
        )
        print(
            "| engine | s a step | plain torch, s | time of plain torch | in CPU time | peak GiB, plain torch | load |"
        )
        print("|---|---|---|---|---|---|---|")
    for stage in map(int, given.stages.split(",")):
        row = measure(size, given.stream, count, stage, given.rounds, given.threads)
        print(json.dumps(row) if given.json else _line(row), flush=True)


def measure(size: str, stream: str, count: int, stage: int, rounds: int, threads: int) -> dict[str, Any]:
    """Medians over rounds, each ratio taken within a round."""
    build = partial(Ours, SIZES[size], stream, count)
    with ExitStack() as stack:
        engines = {"torch": stack.enter_context(Contestant(threads, build))}
        engines["zero"] = stack.enter_context(Contestant(threads, partial(build, zero=stage)))
        spent, _ = in_turns(engines, "step", rounds, WARM, lambda: 0.0)
        peak = {name: engine.peak() for name, engine in engines.items()}
    rows = list(zip(spent["zero"], spent["torch"], strict=True))
    ratios = [zero.wall / plain.wall for zero, plain in rows]
    return {
        "stage": stage, "rounds": rounds, "load": os.getloadavg()[0],
        "seconds": {name: statistics.median(one.wall for one in own) for name, own in spent.items()},
        "ratio": statistics.median(ratios), "spread": [min(ratios), max(ratios)],
        "cpu_ratio": statistics.median(zero.cpu / plain.cpu for zero, plain in rows), "peak_gib": peak,
    }  # fmt: skip


def _line(row: dict[str, Any]) -> str:
    (low, high), seconds, peak = row["spread"], row["seconds"], row["peak_gib"]
    cells = [f"ZeRO-{row['stage']}", f"{seconds['zero']:.3f}", f"{seconds['torch']:.3f}"]
    cells += [f"{row['ratio']:.3f} ({low:.3f} to {high:.3f})", f"{row['cpu_ratio']:.3f}"]
    cells += [f"{peak['zero']:.2f}, {peak['torch']:.2f}", f"{row['load']:.1f}"]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
