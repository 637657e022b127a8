"""The memory of a process that trains on this machine's processor: what is planned, and what only steps can tell.

The peak of a process (its largest resident set) is counted. Beside the planned bytes it holds Python, libraries,
kernels and what the allocator does not give back: measured by a calibration. Then the batches that the loader has made
ahead, and the decoded images that it keeps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from vltk.data.pixels import BUDGET
from vltk.plan.calibrate import Calibration, Run
from vltk.plan.count import StageCount
from vltk.plan.memory import Layout, memory, saving

ONE = 1  # process
KERNELS = 2**27  # bytes: those that oneDNN keeps for lengths of text that a few steps have not met (benchmarks.plan)


def at_most(stage: StageCount, micro_batch: int | None) -> float:
    """Planned bytes of a process on plain torch: in a step with a checkpoint written beside it, or while it waits for
    that; the batches made ahead included."""
    training, copy = steps(stage, micro_batch), saving(stage)
    together = training + copy if stage.stage.checkpoint.asynchronous else max(training, _states(stage) + copy)
    return together + ahead(stage)


def beside(stages: list[StageCount], measured: Calibration) -> dict[str, float]:
    """By stage, the bytes of a whole training beside those of its steps."""
    return {stage.name: _beside(stage, measured.usual[stage.name]) for stage in stages}


def _beside(stage: StageCount, run: Run) -> float:
    micro_batch = stage.stage.micro_batch
    more = at_most(stage, micro_batch) - steps(stage, micro_batch)
    return more + unplanned(stage, run) + later_kernels(stage) + (BUDGET if run.pixels else 0)


def checked(stages: list[StageCount], measured: Calibration) -> dict[str, dict[str, float]]:
    """By stage, the bytes of the steps with the recipe's micro-batch: planned, with what those with few samples took
    beside their plan, and measured."""
    found = {}
    for stage in stages:
        few, usual = measured.few[stage.name], measured.usual[stage.name]
        large = resized(stage, usual.samples)
        planned = at_most(large, None) + unplanned(stage, few) + usual.pixels
        found[stage.name] = {"beside": unplanned(stage, few), "planned": planned, "measured": float(usual.peak)}
    return found


def unplanned(stage: StageCount, run: Run) -> float:
    """Bytes that no plan knows: the measured peak of a few steps without all that is planned of them."""
    return run.peak - at_most(resized(stage, run.samples), None) - run.pixels


def later_kernels(stage: StageCount) -> float:
    """Bytes of the kernels that come in the course of a whole training, where there are texts."""
    return KERNELS if stage.stage.tokenizer is not None else 0


def ahead(stage: StageCount) -> float:
    """Bytes of the batches that the loader has ready or in hand, beside the one that is trained on."""
    waiting = stage.stage.loader.prefetch + 1
    return waiting * max(stream.inputs * stream.batch_size for stream in stage.streams.values())


def pixels(run: Run, images: int, seen: int) -> float:
    """Bytes of the decoded images that are kept after so many, where the run has seen `seen`."""
    return min(BUDGET, run.pixels / max(1, seen) * images)


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
