"""How much of the pace of its steps alone is left in a whole run: `vltk train`'s loop and loader, in turns in one run.

    python -m benchmarks.whole [RECIPE] [KEY=VALUE ...] [--stage NAME] [--turn 40] [--json]

A stage is trained from its first step to its last, and stands still every `--turn` steps for the same steps on batches
that are there already. `benchmarks/README.md` says what is counted.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

from vltk import launch

launch.before_torch()  # as `vltk train` does, whose steps these are

from benchmarks import _cli  # noqa: E402
from vltk import dist  # noqa: E402
from vltk.data.loader import Loader, Step  # noqa: E402
from vltk.errors import VltkError  # noqa: E402
from vltk.log import unsaid  # noqa: E402
from vltk.needs import require_data  # noqa: E402
from vltk.plan.bench import WARM, built, on_its_device, timed_step  # noqa: E402
from vltk.recipe import Checkpoints, load  # noqa: E402
from vltk.train.loop import train  # noqa: E402
from vltk.train.setup import Setup  # noqa: E402


@dataclass(frozen=True)
class Turn:
    """Steps of a run: the first one, seconds, those of them spent waiting for data, and the seconds that the same steps
    took just before on batches that were there."""

    first: int
    seconds: float
    waited: float
    alone: float


class Interrupted:
    """The loader of a run that is `setup`'s, which between turns of so many steps takes them alone, by `alone(step,
    stream)`: its seconds. The first `WARM` steps of the run belong to no turn, nor do the last ones: the end saves.
    """

    def __init__(self, loader: Loader, length: int, alone: Callable[[int, str], float]) -> None:
        self.streams, self.mixture = loader.streams, loader.mixture
        self.turns: list[Turn] = []
        self._loader, self._length, self._alone = loader, length, alone

    @property
    def wait_seconds(self) -> float:
        return self._loader.wait_seconds

    def __iter__(self) -> Generator[Step]:
        with closing(iter(self._loader)) as made:
            yield from islice(made, WARM)
            for first in range(WARM, self._loader.steps - self._length, self._length):
                alone = self._steps_alone(first)
                start, waited = time.perf_counter(), self.wait_seconds
                yield from islice(made, self._length)
                self.turns.append(Turn(first, time.perf_counter() - start, self.wait_seconds - waited, alone))
            yield from made

    def _steps_alone(self, first: int) -> float:
        """Behind as many uncounted ones as let the loader get ahead, which then sleeps."""
        ahead = range(first, min(self._loader.prefetch + 2, self._length) + first)
        for step in ahead:
            self._alone(step, self.mixture.stream_at(step))
        return sum(self._alone(step, self.mixture.stream_at(step)) for step in range(first, first + self._length))


def main() -> None:
    parser = _cli.parser(__doc__)
    parser.add_argument("recipe", nargs="?", default="flava-tiny")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="as of `vltk train`")
    parser.add_argument("--stage", help="default: the last one")
    parser.add_argument("--turn", type=_cli.positive, default=40, help="steps of a turn")
    _cli.json_option(parser)
    options = parser.parse_args()
    turns = measure(options.recipe, options.overrides, options.stage, options.turn)
    print(table(turns, options.turn))
    _cli.last([asdict(turn) for turn in turns], options.json)


def measure(name: str, overrides: list[str], stage: str | None, length: int) -> list[Turn]:
    """The turns of a stage, the last one where none is named, which is trained in a folder that is thrown away; it
    evaluates nothing, and saves at the end alone. Raises VltkError where it has no whole turn."""
    recipe = load(name, overrides)
    require_data(recipe)
    stage = stage or list(recipe.stages)[-1]
    if stage not in recipe.stages:
        raise VltkError(f"--stage {stage}: the recipe {recipe.name} has {', '.join(recipe.stages)}")
    steps = recipe.stages[stage].steps
    if steps <= WARM + length:
        most = steps - WARM - 1
        told = f"; type {most} at the most" if most > 0 else ": too few for any turn"
        raise VltkError(f"--turn {length}: the stage {stage} has {steps} steps{told}")
    dist.start()
    with tempfile.TemporaryDirectory() as folder, unsaid():
        setup = built(recipe, stage, Path(folder))
        setup.stage = setup.stage.model_copy(update={"checkpoint": Checkpoints(every=steps)})
        loader = setup.loader = Interrupted(setup.loader, length, _alone(setup))
        train(setup)
    return loader.turns


def _alone(setup: Setup) -> Callable[[int, str], float]:
    """Steps on the first batch of each stream."""
    inputs = {name: on_its_device(setup, stream.micro_batches(0)) for name, stream in setup.loader.streams.items()}
    return lambda step, stream: timed_step(setup, stream, inputs[stream], step)


def table(turns: list[Turn], length: int) -> str:
    lines = ["| steps | s | waiting for data s | the same steps alone s | of their pace |", "|---|---|---|---|---|"]
    for turn in turns:
        lines.append(_row(f"{turn.first + 1} to {turn.first + length}", turn.seconds, turn.waited, turn.alone))
    lines.append(_row("all", *(sum(getattr(turn, key) for turn in turns) for key in ("seconds", "waited", "alone"))))
    shares = sorted(turn.alone / turn.seconds for turn in turns)
    return "\n".join([*lines, "", f"median of the turns {statistics.median(shares):.1%}"])


def _row(name: str, seconds: float, waited: float, alone: float) -> str:
    return f"| {name} | {seconds:.2f} | {waited:.2f} | {alone:.2f} | {alone / seconds:.1%} |"


if __name__ == "__main__":
    _cli.run(main)
