"""ZeRO 0 to 3 in fp32 and bf16 on 1, 2 and 4 processes against the torch engine in one: losses, and memory a rank.

    python -m benchmarks.zero_table [--steps 50] [--width 64] [--processes 1,2,4] [--json]

A FLAVA with six losses, its streams in turns, one global batch, split by ranks and by accumulation 1 and 2; no dropout.
`benchmarks/README.md` says what the columns are.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from benchmarks.joint import STREAMS, batch, engine_of, in_processes, load_engine, made, one_step, resident

IMAGE, BATCH = 64, 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--depth", type=int, default=2)
    parser.add_argument("--processes", default="1,2,4")
    parser.add_argument("--precisions", default="fp32,bf16")
    parser.add_argument("--json", action="store_true", help="one JSON object a row, no table")
    options = parser.parse_args()
    sizes = (options.width, options.depth)
    if not options.json:
        print("| precision | ZeRO | processes | accumulation | largest relative difference | MiB a rank |")
        print("|---|---|---|---|---|---|")
    for precision in options.precisions.split(","):
        (torch_alone,) = in_processes(1, train, None, precision, 1, options.steps, *sizes)
        for stage in (None, 0, 1, 2, 3):
            for world in map(int, options.processes.split(",")):
                for parts in (1, 2):
                    every = in_processes(world, train, stage, precision, parts, options.steps, *sizes)
                    show(options.json, precision, stage, world, parts, every, torch_alone)


def train(stage: int | None, precision: str, parts: int, steps: int, width: int, depth: int) -> dict[str, Any]:
    """The losses of every step, and what the memory of this process has grown by since before the model."""
    load_engine(stage)
    before = resident()
    built = made(width, depth, IMAGE)
    engine = engine_of(stage, precision, built, stage3_param_persistence_threshold=0)
    losses = []
    for step in range(steps):
        stream = list(STREAMS)[step % len(STREAMS)]
        losses.append(one_step(engine, built[0], stream, batch(BATCH, step, IMAGE), step, steps, parts))
    return {"losses": losses, "memory": resident() - before}


def show(
    as_json: bool, precision: str, stage: int | None, world: int, parts: int, every: list[Any], alone: dict[str, Any]
) -> None:
    pairs = zip(every[0]["losses"], alone["losses"], strict=True)
    worst = max(abs(ours[name] - theirs[name]) / abs(theirs[name]) for ours, theirs in pairs for name in theirs)
    memory = max(rank["memory"] for rank in every)
    row = {"precision": precision, "zero": "torch" if stage is None else stage, "processes": world}
    row |= {"accumulation": parts, "difference": worst, "memory": round(memory)}
    if as_json:
        print(json.dumps(row), flush=True)
    else:
        cells = [precision, str(row["zero"]), str(world), str(parts), f"{worst:.1e}", f"{memory:.0f}"]
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
