"""ZeRO 0 to 3 in fp32 and bf16 on 1, 2 and 4 processes against the torch engine in one: losses, and memory a rank.

    python -m benchmarks.zero_table [--steps 50] [--width 64] [--processes 1,2,4] [--json]

A FLAVA with six losses, its streams in turns, one global batch, split by ranks and by accumulation 1 and 2; no dropout.
`benchmarks/README.md` says what the columns are.
"""

from __future__ import annotations

import gc
from collections.abc import Sequence
from itertools import product
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
    tensors,
    width_of,
)
from vltk.errors import VltkError

IMAGE, BATCH = 64, 16
BUCKET = 100_000  # numbers; DeepSpeed sets 2 GB aside by default
STAGES, PARTS = (None, 0, 1, 2, 3), (1, 2)
Cell = tuple[str, int | None, int]  # precision, ZeRO stage, micro-batches


def main() -> None:
    parser = _cli.parser(__doc__)
    parser.add_argument("--steps", type=_cli.positive, default=50)
    parser.add_argument("--width", type=width_of, default=64)
    parser.add_argument("--depth", type=_cli.positive, default=2)
    parser.add_argument("--processes", type=_cli.positives, default="1,2,4")
    parser.add_argument("--precisions", type=_cli.some_of("fp32", "bf16"), default="fp32,bf16")
    _cli.json_option(parser)
    options = parser.parse_args()
    size, precisions = (options.steps, options.width, options.depth), options.precisions
    if odd := [world for world in options.processes if BATCH % (world * max(PARTS))]:
        raise VltkError(f"--processes {odd[0]}: {BATCH} pairs are not cut evenly in so many; choose among 1,2,4,8")
    (first,) = in_processes(1, trained, [(precision, None, 1) for precision in precisions], *size)
    alone = {precision: run["losses"] for precision, run in zip(precisions, first, strict=True)}
    heads = "precision, ZeRO, processes, accumulation, largest relative difference, tensors MiB, predicted MiB"
    print(f"| {heads.replace(', ', ' | ')} |\n{'|---' * len(heads.split(', '))}|", flush=True)
    # ZeRO-3 comes last: DeepSpeed puts its own linear in the place of torch's for as long as the process lives
    cells = [(precision, stage, parts) for stage, precision, parts in product(STAGES, precisions, PARTS)]
    rows = []
    for world in options.processes:
        every = in_processes(world, trained, cells, *size)
        for cell, *runs in zip(cells, *every, strict=True):
            rows.append(compared(cell, runs, alone[cell[0]]))
            print(_line(rows[-1]), flush=True)
    _cli.last(_cli.conditions(options) | {"rows": rows}, options.json)


def trained(cells: Sequence[Cell], steps: int, width: int, depth: int) -> list[dict[str, Any]]:
    """What `train` returns of each cell, one after the other in the same processes."""
    return [train(*cell, steps, width, depth) for cell in cells]


def train(precision: str, stage: int | None, parts: int, steps: int, width: int, depth: int) -> dict[str, Any]:
    """The losses of every step; then the memory of one more on pairs, between backward and the optimizer's step."""
    load_engine(stage)
    gc.collect()
    before = tensors()
    built = made(width, depth, IMAGE)
    engine = engine_of(stage, precision, built, BUCKET)
    losses = []
    for step in range(steps):
        stream = list(STREAMS)[step % len(STREAMS)]
        losses.append(one_step(engine, built[0], stream, batch(BATCH, step, IMAGE), step, steps, parts))
    held: list[float] = []
    last = batch(BATCH, steps, IMAGE)
    one_step(engine, built[0], "pairs", last, steps, steps + 1, parts, between=lambda: held.append(tensors()))
    return {"losses": losses, "tensors": held[0] - before, "predicted": predicted(stage, built[0])}


def compared(cell: Cell, runs: list[dict[str, Any]], alone: list[dict[str, float]]) -> dict[str, Any]:
    """A row; `runs`: of all ranks."""
    pairs = zip(runs[0]["losses"], alone, strict=True)
    worst = max(abs(ours[name] - theirs[name]) / abs(theirs[name]) for ours, theirs in pairs for name in theirs)
    precision, stage, parts = cell
    row = {"precision": precision, "zero": "torch" if stage is None else stage, "processes": len(runs)}
    row |= {"accumulation": parts, "difference": worst, "tensors": max(run["tensors"] for run in runs)}
    return row | {"predicted": runs[0]["predicted"]}


def _line(row: dict[str, Any]) -> str:
    cells = [str(row[name]) for name in ("precision", "zero", "processes", "accumulation")]
    cells += [f"{row['difference']:.1e}", *(f"{row[name]:.1f}" for name in ("tensors", "predicted"))]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    _cli.run(main)
