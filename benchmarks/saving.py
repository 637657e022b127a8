"""How long training stands still for a checkpoint: written beside it against written in the step.

    python -m benchmarks.saving [--width 512] [--depth 8] [--rounds 5] [--between 12] [--folder DIR] [--json]

A FLAVA of that width in one process; a checkpoint every `--between` steps, asynchronous and synchronous in turns.
`benchmarks/README.md` says what is counted.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from vltk import launch

launch.before_torch()  # as `vltk train` does, whose steps these are

from benchmarks import _cli  # noqa: E402
from benchmarks.joint import batch, engine_of, made, one_step, width_of  # noqa: E402
from vltk import checkpoint  # noqa: E402
from vltk.recipe import Checkpoints  # noqa: E402
from vltk.train.saving import Saver  # noqa: E402

IMAGE, BATCH, STREAM = 64, 8, "pairs"


def main() -> None:
    parser = _cli.parser(__doc__)
    parser.add_argument("--width", type=width_of, default=512)
    parser.add_argument("--depth", type=_cli.positive, default=8)
    parser.add_argument("--rounds", type=_cli.positive, default=5)
    parser.add_argument("--between", type=_cli.positive, default=12, help="steps from one checkpoint to the next")
    parser.add_argument("--folder", type=Path, help="a disk to write to; default: the temporary folder")
    _cli.json_option(parser)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        found = measure(Path(folder), options.width, options.depth, options.rounds, options.between)
    print(table(found))
    _cli.last(found, options.json)


def measure(folder: Path, width: int, depth: int, rounds: int, between: int) -> dict[str, Any]:
    """Seconds of plain steps, of the calls that save, of the steps behind them, and of each window as a whole, which
    ends when the checkpoint is written."""
    built = made(width, depth, IMAGE)
    engine, drawn = engine_of(None, "fp32", built), batch(BATCH, 0, IMAGE)
    steps = 1 + between * (2 * rounds + 1)
    number = 0

    def step() -> float:
        nonlocal number
        start = time.perf_counter()
        one_step(engine, built[0], STREAM, drawn, number, steps)
        number += 1
        return time.perf_counter() - start

    step()
    found: dict[str, Any] = {"plain": [step() for _ in range(between)]}
    for way in ("asynchronous", "synchronous"):
        found[way] = {"save": [], "behind": [], "window": []}
    for _ in range(rounds):
        for way in ("asynchronous", "synchronous"):
            start = time.perf_counter()
            with Saver(folder, Checkpoints(keep=1, asynchronous=way == "asynchronous")) as saver:
                saver.save(number, engine.pieces(), {})
                found[way]["save"].append(time.perf_counter() - start)
                for _ in range(between):
                    found[way]["behind"].append(step())
                    saver.look()
            found[way]["window"].append(time.perf_counter() - start)
    path = checkpoint.path_of(folder, checkpoint.steps(folder)[0])
    found["bytes"] = sum(file.stat().st_size for file in path.iterdir())
    return found


def table(found: dict[str, Any]) -> str:
    plain, size = statistics.median(found["plain"]), found["bytes"] / 2**20
    lines = [f"checkpoint {size:.0f} MiB, a plain step {plain:.3f} s", ""]
    lines += [
        "| way | call s | steps behind it, median s | longest s | the window, until all is written, s |",
        "|---|---|---|---|---|",
    ]
    for way in ("asynchronous", "synchronous"):
        own = found[way]
        figures = [statistics.median(own["save"]), statistics.median(own["behind"]), max(own["behind"])]
        figures.append(statistics.median(own["window"]))
        lines.append(f"| {way} | {' | '.join(f'{figure:.3f}' for figure in figures)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    _cli.run(main)
