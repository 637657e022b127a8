"""The DeepSpeed engine against plain torch: the same steps of FLAVA on one process each, in turns in one run.

    python -m benchmarks.engines [--size base] [--stream pairs] [--batch n] [--stages 0,1,2,3] [--rounds 5] [--json]

Same weights, same samples, bf16 autocast, fused AdamW, as `benchmarks.train_step` has them.
"""

from __future__ import annotations

import os
import statistics
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch

from benchmarks import _cli
from benchmarks.steps import SIZES, Ours, enough
from benchmarks.train_step import STREAMS, WARM
from benchmarks.turns import Contestant, in_turns
from vltk.launch import before_torch


def main() -> None:
    parser = _cli.parser(__doc__)
    parser.add_argument("--size", choices=list(SIZES), default="base")
    parser.add_argument("--stream", choices=STREAMS, default="pairs")
    parser.add_argument("--batch", type=_cli.positive, help="samples a step")
    parser.add_argument(
        "--stages", type=_cli.some_of("0", "1", "2", "3"), default="0,1,2,3", help="of ZeRO, each against plain torch"
    )
    parser.add_argument("--rounds", type=_cli.positive, default=5)
    parser.add_argument("--threads", type=_cli.positive, default=2)
    _cli.json_option(parser)
    given = parser.parse_args()
    size, count = given.size, enough(given.stream, given.batch or SIZES[given.size].batch)
    print(f"{size} {given.stream}, {count} samples a step, {given.threads} threads, torch {torch.__version__}")
    print("| engine | s a step | plain torch, s | time of plain torch | in CPU time | peak GiB, plain torch | load |")
    print("|---|---|---|---|---|---|---|", flush=True)
    rows = []
    for stage in map(int, given.stages):
        rows.append(measure(size, given.stream, count, stage, given.rounds, given.threads))
        print(_line(rows[-1]), flush=True)
    _cli.last(_cli.conditions(given) | {"batch": count, "rows": rows}, given.json)


def measure(size: str, stream: str, count: int, stage: int, rounds: int, threads: int) -> dict[str, Any]:
    """Medians over rounds, each ratio taken within a round."""
    build = partial(Ours, SIZES[size], stream, count)
    with ExitStack() as stack:
        engines = {"torch": stack.enter_context(Contestant(threads, build, prepare=before_torch))}
        engines["zero"] = stack.enter_context(Contestant(threads, partial(build, zero=stage), prepare=before_torch))
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
    _cli.run(main)
