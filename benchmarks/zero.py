"""What ZeRO costs and saves: steps of alternating against constant streams, 2 processes against 1, memory a rank.

    python -m benchmarks.zero [--rounds 7] [--width 384] [--depth 6] [--batch 16] [--json]

Processes have one thread each and are joined by gloo. `benchmarks/README.md` says what is counted.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Sequence
from typing import Any

from benchmarks import _cli
from benchmarks.joint import (
    STREAMS,
    batch,
    engine_of,
    in_processes,
    load_engine,
    made,
    one_step,
    predicted,
    resident,
    tensors,
    width_of,
)
from vltk.errors import VltkError

IMAGE, WARM = 112, 3
BUCKET = 1_000_000  # numbers; DeepSpeed sets 2 GB aside by default
NAMES = {None: "torch", 0: "ZeRO-0", 1: "ZeRO-1", 2: "ZeRO-2", 3: "ZeRO-3"}


def main() -> None:
    parser = _cli.parser(__doc__)
    parser.add_argument("--rounds", type=_cli.positive, default=7)
    parser.add_argument("--width", type=width_of, default=384)
    parser.add_argument("--depth", type=_cli.positive, default=6)
    parser.add_argument("--batch", type=_cli.positive, default=16, help="pairs a step, of all processes together")
    parser.add_argument("--processes", type=_cli.positives, default="1,2")
    parser.add_argument("--stages", type=_cli.some_of("torch", "0", "1", "2", "3"), default="torch,0,1,2,3")
    _cli.json_option(parser)
    options = parser.parse_args()
    size = (options.rounds, options.width, options.depth, divided(options.batch, options.processes))
    heads = "engine, processes, constant s, alternating s, ratio, samples/s, x 1 process, "
    heads += "resident MiB, tensors MiB, predicted MiB"
    print(f"| {heads.replace(', ', ' | ')} |\n{'|---' * len(heads.split(', '))}|", flush=True)
    rows = []
    for name in options.stages:
        stage, alone = None if name == "torch" else int(name), 0.0
        for world in options.processes:
            row = summed(stage, world, options.batch, in_processes(world, measure, stage, *size))
            alone = alone or row["samples"]
            rows.append(row | {"speedup": row["samples"] / alone})
            print(_line(rows[-1]), flush=True)
    _cli.last(_cli.conditions(options) | {"rows": rows}, options.json)


def divided(count: int, processes: Sequence[int]) -> int:
    """A batch of so many pairs; raises VltkError where not every rank gets as many."""
    each = math.lcm(*processes)
    if count % each:
        some, next_one = ",".join(map(str, processes)), each * (count // each + 1)
        raise VltkError(f"a batch of {count} is not cut evenly among --processes {some}: type --batch {next_one}")
    return count


def measure(stage: int | None, rounds: int, width: int, depth: int, pairs: int) -> dict[str, Any]:
    """Seconds of a step of each stream, several in a row and in turns; memory behind them all."""
    load_engine(stage)
    before = resident()
    built = made(width, depth, IMAGE)
    engine = engine_of(stage, "fp32", built, BUCKET)
    steps = 2 * len(STREAMS) * (rounds + WARM) + 1
    drawn = batch(pairs, 0, IMAGE)
    clock: dict[str, dict[str, list[float]]] = {
        way: {stream: [] for stream in STREAMS} for way in ("constant", "turns")
    }

    def timed(way: str, stream: str, number: int) -> None:
        start = time.perf_counter()
        one_step(engine, built[0], stream, drawn, number, steps)
        if len(clock[way][stream]) < rounds + WARM:
            clock[way][stream].append(time.perf_counter() - start)

    number = 0
    for stream in STREAMS:
        for _ in range(rounds + WARM):
            timed("constant", stream, number)
            number += 1
    for _ in range(rounds + WARM):
        for stream in STREAMS:
            timed("turns", stream, number)
            number += 1
    held: list[float] = []
    one_step(engine, built[0], "pairs", drawn, number, steps, between=lambda: held.append(tensors()))
    medians = {
        way: statistics.mean(statistics.median(times[WARM:]) for times in of.values()) for way, of in clock.items()
    }
    return medians | {"resident": resident() - before, "tensors": held[0], "predicted": predicted(stage, built[0])}


def summed(stage: int | None, world: int, pairs: int, every: list[dict[str, Any]]) -> dict[str, Any]:
    """A row: the slowest rank's times, the largest memory."""
    constant, turns = (max(rank[way] for rank in every) for way in ("constant", "turns"))
    return {
        "engine": NAMES[stage], "processes": world, "constant": constant, "turns": turns, "ratio": turns / constant,
        "samples": pairs / turns, "resident": max(rank["resident"] for rank in every),
        "tensors": max(rank["tensors"] for rank in every), "predicted": every[0]["predicted"],
    }  # fmt: skip


def _line(row: dict[str, Any]) -> str:
    cells = [row["engine"], str(row["processes"])]
    cells += [f"{row[name]:.3f}" for name in ("constant", "turns")]
    cells += [f"{row['ratio']:.2f}", f"{row['samples']:.1f}", f"{row['speedup']:.2f}"]
    cells += [f"{row[name]:.0f}" for name in ("resident", "tensors", "predicted")]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    _cli.run(main)
