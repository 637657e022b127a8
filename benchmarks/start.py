"""How long a user waits for the first step: `vltk train` in an empty folder, beside Python that only imports torch.

    python -m benchmarks.start [RECIPE] [--rounds 5] [--json]

`benchmarks/README.md` says what is counted.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import _cli
from vltk.data.dataset import data_root
from vltk.errors import VltkError
from vltk.recipe_files import locate

LOOK = 0.02  # seconds between two looks for the first row


def main() -> None:
    parser = _cli.parser(__doc__)
    parser.add_argument("recipe", nargs="?", default="flava-tiny")
    parser.add_argument("--rounds", type=_cli.positive, default=5)
    _cli.json_option(parser)
    options = parser.parse_args()
    found = measure(options.recipe, options.rounds)
    print(table(options.recipe, found))
    _cli.last(found, options.json)


def measure(recipe: str, rounds: int) -> dict[str, list[float]]:
    """Seconds of each round, in turns, behind one that is not counted. Raises VltkError where there is no such recipe,
    or no first step."""
    path = locate(recipe).resolve()  # it starts in another folder
    found: dict[str, list[float]] = {"torch": [], "first step": []}
    for _ in range(1 + rounds):
        found["torch"].append(_imports())
        found["first step"].append(_first_step(path))
    return {what: seconds[1:] for what, seconds in found.items()}


def _imports() -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import torch"], check=True)
    return time.perf_counter() - start


def _first_step(recipe: Path) -> float:
    """From the start of the process to its first row in metrics.jsonl. Raises VltkError where it ends without one."""
    command = [sys.executable, "-P", "-m", "vltk", "train", str(recipe), "log_every=1"]
    environment = {**os.environ, "VLTK_DATA": str(data_root().absolute())}
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+") as said:
        start = time.perf_counter()
        with subprocess.Popen(command, cwd=folder, env=environment, stdout=said, stderr=said) as process:
            while not any(path.stat().st_size for path in Path(folder).glob("runs/*/*/metrics.jsonl")):
                if process.poll() is not None:
                    said.seek(0)
                    raise VltkError(f"{' '.join(command)}: ended without a step\n{said.read()}")
                time.sleep(LOOK)
            seconds = time.perf_counter() - start
            process.kill()
    return seconds


def table(recipe: str, found: dict[str, list[float]]) -> str:
    rows = {"import torch": found["torch"], f"vltk train {recipe}, first step done": found["first step"]}
    lines = ["| | median s | shortest | longest |", "|---|---|---|---|"]
    for what, seconds in rows.items():
        figures = (statistics.median(seconds), min(seconds), max(seconds))
        lines.append(f"| {what} | {' | '.join(f'{figure:.2f}' for figure in figures)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    _cli.run(main)
