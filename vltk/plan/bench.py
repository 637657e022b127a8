"""`vltk bench`: what this machine gives a recipe: its ceilings, the step of each stream, the loader, both, MFU.

A stage is built as training builds it, in a folder that is thrown away, from random weights: they change no times.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from rich.table import Table
from torch import Tensor

from vltk import dist
from vltk.data.batch import Batch
from vltk.data.loader import Loader
from vltk.data.mixture import Mixture
from vltk.data.pixels import BUDGET
from vltk.data.stream import keep_decoded
from vltk.errors import VltkError
from vltk.log import unsaid
from vltk.plan.calibrate import stand_in
from vltk.recipe import Recipe
from vltk.run import RunFolder
from vltk.train.accumulate import run_step
from vltk.train.ceiling import copying, products
from vltk.train.engines._scale import LOW
from vltk.train.pretraining import on_device
from vltk.train.setup import Setup, build
from vltk.train.sources import named
from vltk.train.utilisation import Flops

WARM = 2  # steps and batches that are not counted
TURNS = 5  # of steps alone and as many behind the loader: what else the machine does changes from one to the next
LEAST = 8  # steps of a turn
Inputs = list[dict[str, Tensor]]  # the micro-batches of a step, on the device


@dataclass(frozen=True)
class Pace:
    """One stream: samples of a step, its seconds on batches that are there already (median), the seconds that its
    loader takes for them alone, and the FLOPs of its matrix products, convolutions and attention."""

    samples: int
    step: float
    loading: float
    flops: int


@dataclass(frozen=True)
class Turn:
    """Steps behind the loader, streams by their weights: seconds, those of them spent waiting for data, and the seconds
    that the same steps took just before on batches that are there already."""

    seconds: float
    waited: float
    alone: float

    @property
    def share(self) -> float:
        """How much of the pace of the steps alone is left."""
        return self.alone / self.seconds


def bench(recipe: Recipe, stage: str | None = None, rounds: int = 10) -> dict[str, Any]:
    """Ceilings, and by stream of a stage (the last one where none is named) what was measured in `rounds` steps.

    The recipe's data is there (`needs.require_data`). Raises VltkError where it has no such stage.
    """
    name = stage or list(recipe.stages)[-1]
    if name not in recipe.stages:
        raise VltkError(f"--stage {name}: the recipe {recipe.name} has {', '.join(recipe.stages)}")
    dist.start()
    with tempfile.TemporaryDirectory() as folder, unsaid():
        setup = built(recipe, name, Path(folder))
        device, dtype = setup.engine.device, LOW.get(setup.stage.precision, torch.float32)
        ceilings = {"products": products(device, dtype), "products_fp32": products(device, torch.float32)}
        ceilings["copying"] = copying(device)
        steps = max(LEAST, rounds * len(setup.stage.streams) // TURNS)
        keep_decoded(setup.loader.streams, 0)
        inputs, loading = _loaded(setup, rounds)
        paces = {stream: _pace(setup, stream, inputs[stream], loading[stream], rounds) for stream in inputs}
        decoding = _turns(setup, inputs, steps)
        keep_decoded(setup.loader.streams, BUDGET)
        _make_all(setup, steps)
        kept = _turns(setup, inputs, steps)
    return {
        "recipe": recipe.name, "stage": name, "device": _named(device), "precision": setup.stage.precision,
        "torch": torch.__version__, "rounds": rounds, "ceilings": ceilings,
        "streams": {stream: _figures(pace, ceilings["products"]) for stream, pace in paces.items()},
        "together": {"decoding": _together(decoding), "kept": _together(kept)},
    }  # fmt: skip


def built(recipe: Recipe, name: str, folder: Path) -> Setup:
    """A stage as training builds it, but for the weights that it starts from: they are drawn."""
    stage = recipe.stages[name]
    sources = {value: stand_in(recipe, value, folder) for value in named(stage)}
    own = RunFolder(folder / "own")
    own.path.mkdir()
    return build(name, stage, own, sources)


def _make_all(setup: Setup, steps: int) -> None:
    """Makes every batch of `_turns` once."""
    mixture = _mixture(setup, steps)
    for step in range(TURNS * _span(setup, steps)):
        name = mixture.stream_at(step)
        setup.loader.streams[name].micro_batches(mixture.count(name, step))


def _mixture(setup: Setup, steps: int) -> Mixture:
    weights = {key: stream.weight for key, stream in setup.stage.streams.items()}
    return Mixture(weights, TURNS * _span(setup, steps), setup.stage.seed)


def _loaded(setup: Setup, rounds: int) -> tuple[dict[str, Inputs], dict[str, float]]:
    """By stream a step's inputs, and the seconds (median) in which the loader makes them when nothing else runs."""
    inputs, loading = {}, {}
    for name, stream in setup.loader.streams.items():
        took = []
        for number in range(WARM + rounds):
            start = time.perf_counter()
            batches = stream.micro_batches(number)
            took.append(time.perf_counter() - start)
        inputs[name] = on_its_device(setup, batches)
        loading[name] = statistics.median(took[WARM:])
    return inputs, loading


def _pace(setup: Setup, stream: str, inputs: Inputs, loading: float, rounds: int) -> Pace:
    with Flops() as flops:
        timed_step(setup, stream, inputs, 0)
    steps = [timed_step(setup, stream, inputs, 1 + number) for number in range(WARM - 1 + rounds)][WARM - 1 :]
    return Pace(setup.stage.streams[stream].batch_size, statistics.median(steps), loading, flops.total)


def timed_step(setup: Setup, stream: str, inputs: Inputs, number: int) -> float:
    """Seconds of a step with a learning rate of 0: forward, backward, optimizer and what follows it."""
    start = time.perf_counter()
    record = run_step(setup.engine, setup.pretraining, stream, inputs, number, setup.stage.seed)
    setup.engine.step(0.0, stream, number)
    setup.pretraining.after_step(setup.engine, stream, number, record.kept)
    if setup.engine.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def _turns(setup: Setup, inputs: dict[str, Inputs], steps: int) -> list[Turn]:
    """`TURNS` times so many steps on batches that are there, then the same as the loop has them."""
    span, mixture = _span(setup, steps), _mixture(setup, steps)
    return [_turn(setup, inputs, mixture, number * span, steps) for number in range(TURNS)]


def _span(setup: Setup, steps: int) -> int:
    """Steps whose batches a turn makes: the first ones, in which the loader gets ahead, do not count, and it is as far
    ahead at the end, so that it makes a batch a step in between."""
    return WARM + steps + ahead(setup.stage.loader.prefetch)


def ahead(prefetch: int) -> int:
    """Steps that a loader may be ahead: those that are ready, one that waits for room, and one more to be sure."""
    return prefetch + 2


def _turn(setup: Setup, inputs: dict[str, Inputs], mixture: Mixture, first: int, steps: int) -> Turn:
    begin, end = first + WARM, first + WARM + steps
    planned = ((step, mixture.stream_at(step)) for step in range(begin, end))
    alone = sum(timed_step(setup, stream, inputs[stream], step) for step, stream in planned)
    loader = Loader(setup.loader.streams, mixture, first, first + _span(setup, steps), setup.stage.loader.prefetch)
    start = waited = 0.0
    with closing(iter(loader)) as made:
        for step, stream, batches in islice(made, end - first):
            timed_step(setup, stream, on_its_device(setup, batches), step)
            if step == begin - 1:
                start, waited = time.perf_counter(), loader.wait_seconds
        seconds = time.perf_counter() - start
    return Turn(seconds, loader.wait_seconds - waited, alone)


def _together(turns: list[Turn]) -> dict[str, Any]:
    sums = {key: sum(getattr(turn, key) for turn in turns) for key in ("seconds", "waited", "alone")}
    return sums | {"of_the_step_alone": statistics.median(turn.share for turn in turns)}


def on_its_device(setup: Setup, batches: list[Batch]) -> Inputs:
    """The micro-batches of a step where its engine wants them."""
    return [on_device(batch.tensors, setup.engine.device) for batch in batches]


def _figures(pace: Pace, ceiling: float) -> dict[str, float]:
    return asdict(pace) | {
        "samples_per_s": pace.samples / pace.step,
        "loader_samples_per_s": pace.samples / pace.loading,
        "mfu": pace.flops / pace.step / ceiling,
    }


def _named(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads"


def table(found: dict[str, Any]) -> Table:
    """The figures on the screen."""
    ceilings, together = found["ceilings"], found["together"]
    made = Table(title=_title(found), caption=_caption(together), title_justify="left", caption_justify="left")
    made.title_style = made.caption_style = ""
    for column in ("stream", "samples a step", "step ms", "samples/s", "loader alone", "TFLOP a step", "MFU"):
        made.add_column(column, justify="left" if column == "stream" else "right")
    for stream, pace in found["streams"].items():
        made.add_row(
            stream,
            str(pace["samples"]),
            f"{1e3 * pace['step']:.1f}",
            f"{pace['samples_per_s']:.1f}",
            f"{pace['loader_samples_per_s']:.1f}",
            f"{pace['flops'] / 1e12:.3g}",
            f"{pace['flops'] / pace['step'] / ceilings['products']:.0%}",
        )
    return made


def _title(found: dict[str, Any]) -> str:
    ceilings = found["ceilings"]
    return (
        f"{found['recipe']}, stage {found['stage']}, {found['device']}, torch {found['torch']}\n"
        f"ceilings: matrix products {ceilings['products'] / 1e12:.3g} TFLOP/s in {found['precision']}, "
        f"{ceilings['products_fp32'] / 1e12:.3g} in fp32; copying {ceilings['copying'] / 1e9:.0f} GB/s"
    )


def _caption(together: dict[str, Any]) -> str:
    decoding, kept = (together[key] for key in ("decoding", "kept"))
    waited, again = (one["waited"] / one["seconds"] for one in (decoding, kept))
    return (
        f"behind the loader, streams by their weights: {decoding['of_the_step_alone']:.0%} of the pace of the steps "
        f"alone where pictures are decoded, {kept['of_the_step_alone']:.0%} where up to {BUDGET >> 20} MiB of them are "
        f"kept decoded; {waited:.1%} and {again:.1%} of the time waiting for data"
    )
