"""How much of the pace of its steps alone is left in a whole run: `vltk train`'s loop and loader, in turns in one run.

    python -m benchmarks.whole [RECIPE] [KEY=VALUE ...] [--stage NAME] [--turn 40] [--json]

A stage is trained from its first step to its last; behind every `--turn` steps it stands still, and the same batches
are stepped once more without loader and loop. `benchmarks/README.md` says what is counted.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path

from vltk import launch

launch.before_torch()  # as `vltk train` does, whose steps these are

from benchmarks import _cli  # noqa: E402
from vltk import dist  # noqa: E402
from vltk.data.batch import Batch  # noqa: E402
from vltk.data.loader import Loader, Step  # noqa: E402
from vltk.errors import VltkError  # noqa: E402
from vltk.log import unsaid  # noqa: E402
from vltk.needs import require_data  # noqa: E402
from vltk.plan.bench import ahead, built, on_its_device, timed_step  # noqa: E402
from vltk.recipe import Checkpoints, load  # noqa: E402
from vltk.train.loop import train  # noqa: E402
from vltk.train.setup import Setup  # noqa: E402


@dataclass(frozen=True)
class Turn:
    """Steps of a run: the first one, seconds, those of them spent waiting for data, and the seconds that steps on the
    same batches took right behind it."""

    first: int
    seconds: float
    waited: float
    alone: float


class Interrupted:
    """The loader of a run, which behind each turn of so many steps takes them alone, by `alone(step, stream, batches)`:
    its seconds.

    Before a turn go steps that belong to none, as many as the loader may be ahead: it got there while nothing was
    counted, and makes a batch a step from then on. Nor do the last steps belong to one, as the end saves.
    """

    def __init__(self, loader: Loader, length: int, alone: Callable[[int, str, list[Batch]], float]) -> None:
        self.streams = loader.streams
        self.turns: list[Turn] = []
        self._loader, self._length, self._alone = loader, length, alone
        self._ahead = ahead(loader.prefetch)

    @property
    def wait_seconds(self) -> float:
        return self._loader.wait_seconds

    def __iter__(self) -> Generator[Step]:
        span = self._ahead + self._length
        with closing(iter(self._loader)) as made:
            for before in range(0, self._loader.steps - span, span):
                yield from islice(made, self._ahead)
                taken: list[Step] = []
                start, waited = time.perf_counter(), self.wait_seconds
                for step in islice(made, self._length):
                    taken.append(step)
                    yield step
                seconds, waited = time.perf_counter() - start, self.wait_seconds - waited
                self.turns.append(Turn(before + self._ahead, seconds, waited, self._steps_alone(taken)))
            yield from made

    def _steps_alone(self, taken: list[Step]) -> float:
        """Behind as many uncounted ones as let the loader get ahead, which then sleeps."""
        for step in taken[: self._ahead]:
            self._alone(*step)
        return sum(self._alone(*step) for step in taken)


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
    evaluates nothing, and saves at the end alone. Raises VltkError where it has no whole turn, or goes back."""
    recipe = load(name, overrides)
    require_data(recipe)
    stage = stage or list(recipe.stages)[-1]
    if stage not in recipe.stages:
        raise VltkError(f"--stage {stage}: the recipe {recipe.name} has {', '.join(recipe.stages)}")
    steps = recipe.stages[stage].steps
    most = steps - ahead(recipe.stages[stage].loader.prefetch) - 1
    if length > most:
        told = f"; type {most} at the most" if most > 0 else ": too few for any turn"
        raise VltkError(f"--turn {length}: the stage {stage} has {steps} steps{told}")
    dist.start()
    with tempfile.TemporaryDirectory() as folder, unsaid():
        setup = built(recipe, stage, Path(folder))
        setup.stage = setup.stage.model_copy(update={"checkpoint": Checkpoints(every=steps)})
        loader = setup.loader = Interrupted(setup.loader, length, partial(_alone, setup))
        train(setup)
        if setup.loader is not loader:
            raise VltkError(f"the stage {stage} went back to its start ({setup.watch.fault}): nothing was measured")
    return loader.turns


def _alone(setup: Setup, step: int, stream: str, batches: list[Batch]) -> float:
    return timed_step(setup, stream, on_its_device(setup, batches), step)


def table(turns: list[Turn], length: int) -> str:
    lines = ["| steps | s | waiting for data s | the same batches alone s | of their pace |", "|---|---|---|---|---|"]
    for turn in turns:
        lines.append(_row(f"{turn.first + 1} to {turn.first + length}", turn.seconds, turn.waited, turn.alone))
    lines.append(_row("all", *(sum(getattr(turn, key) for turn in turns) for key in ("seconds", "waited", "alone"))))
    median = statistics.median(turn.alone / turn.seconds for turn in turns)
    return "\n".join([*lines, "", f"median of the turns {median:.1%}"])


def _row(name: str, seconds: float, waited: float, alone: float) -> str:
    return f"| {name} | {seconds:.2f} | {waited:.2f} | {alone:.2f} | {alone / seconds:.1%} |"


if __name__ == "__main__":
    _cli.run(main)
