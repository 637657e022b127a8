"""The memory of a process that trains on this machine's processor: what is planned, and what only steps can tell.

The peak of a process (its largest resident set) is counted. Beside the planned bytes it holds Python, libraries, kernels and
what the allocator does not give back: measured once, by steps with few samples, and the same at any size. Then the
batches that the loader has made ahead, and the decoded images that it keeps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from vltk.data.pixels import BUDGET
from vltk.plan.calibrate import Calibration, Run
from vltk.plan.count import StageCount
from vltk.plan.memory import Layout, memory, saving

ONE = 1  # process


def at_most(stage: StageCount) -> float:
    """Planned bytes of the process on plain torch, as the recipe has its batches: in a step, or in saving."""
    return max(steps(stage, stage.stage.micro_batch), _states(stage) + saving(stage))


def beside(stages: list[StageCount], measured: Calibration) -> dict[str, float]:
    """By stage, the bytes of a whole training beside the planned ones."""
    return {
        stage.name: constant(stage, measured.few[stage.name])
        + ahead(stage)
        + (BUDGET if measured.few[stage.name].pixels else 0)
        for stage in stages
    }


def checked(stages: list[StageCount], measured: Calibration) -> dict[str, dict[str, float]]:
    """By stage, the bytes of the steps with the recipe's micro-batch: planned with the constant, and measured."""
    found = {}
    for stage in stages:
        few, usual = measured.few[stage.name], measured.usual[stage.name]
        large = resized(stage, usual.samples)
        planned = steps(large, None) + constant(stage, few) + ahead(large) + usual.pixels
        found[stage.name] = {"constant": constant(stage, few), "planned": planned, "measured": float(usual.peak)}
    return found


def constant(stage: StageCount, few: Run) -> float:
    """Bytes that no plan knows: the measured peak of a few small steps without all that is planned of them."""
    small = resized(stage, few.samples)
    return few.peak - steps(small, None) - ahead(small) - few.pixels


def ahead(stage: StageCount) -> float:
    """Bytes of the batches that the loader has ready or in hand, beside the one that is trained on."""
    waiting = stage.stage.loader.prefetch + 1
    return waiting * max(stream.inputs * stream.batch_size for stream in stage.streams.values())


def pixels(few: Run, images: int, few_images: int) -> float:
    """Bytes of the decoded images that are kept once so many have been seen."""
    return min(BUDGET, few.pixels / max(1, few_images) * images)


def resized(stage: StageCount, samples: Mapping[str, int]) -> StageCount:
    """The stage with other batches."""
    streams = {name: replace(stream, batch_size=samples[name]) for name, stream in stage.streams.items()}
    return replace(stage, streams=streams)


def steps(stage: StageCount, micro_batch: int | None) -> float:
    """Planned bytes of one process in its steps."""
    most = max(stream.batch_size for stream in stage.streams.values())
    layout = Layout(ONE, None, min(micro_batch or most, most))
    return max(memory(stage, stream, layout).peak for stream in stage.streams.values())


def _states(stage: StageCount) -> float:
    return max(memory(stage, stream, Layout(ONE, None, 1)).states for stream in stage.streams.values())
