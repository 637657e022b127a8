"""Which layout of a stage fits a GPU, which is fastest on a number of them, and which number costs least."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from vltk.errors import VltkError
from vltk.plan import gpus
from vltk.plan.count import StageCount
from vltk.plan.gpus import GIB, Gpu
from vltk.plan.memory import Layout, memory
from vltk.plan.pace import Assumptions, stage_pace

ZERO = (None, 1, 2, 3)  # DeepSpeed's stage 0 is plain torch
CONTEXT = 1.0  # GiB that CUDA, its libraries and NCCL take of a GPU; from memory
LOST = 0.05  # share that the allocator loses to gaps; from memory
CLOSE = 1.1  # times of a step that are taken for equal
DAY = 86400


@dataclass(frozen=True)
class Chosen:
    """A layout of a stage that fits, its bytes at the most and the seconds of its mean step."""

    layout: Layout
    peak: float
    seconds: float


def needed(stage: StageCount, layout: Layout, assumed: Assumptions) -> float:
    """Bytes that a GPU must have: the largest of the streams, what is lost to gaps, and what no program can use; or
    what was measured beside the plan."""
    if stage.name in assumed.beside:
        return peak(stage, layout) + assumed.beside[stage.name]
    return peak(stage, layout) * (1 + LOST) + CONTEXT * GIB


def peak(stage: StageCount, layout: Layout) -> float:
    """Bytes at the most, over the streams."""
    return max(memory(stage, stream, layout).peak for stream in stage.streams.values())


def divides(stage: StageCount, count: int) -> bool:
    """Whether so many GPUs share every batch equally."""
    return all(stream.batch_size % count == 0 for stream in stage.streams.values())


def largest(stage: StageCount, count: int, zero: int | None, gpu: Gpu, assumed: Assumptions) -> Layout | None:
    """The one with the largest micro-batch that fits; None where not even a single sample does."""
    most = max(stream.batch_size // count for stream in stage.streams.values())
    fits, fails = 0, most + 1
    while fails - fits > 1:
        size = most if fails > most and fits == 0 else (fits + fails) // 2
        if needed(stage, Layout(count, zero, size), assumed) <= gpu.bytes:
            fits = size
        else:
            fails = size
    return Layout(count, zero, fits) if fits else None


def best(stage: StageCount, count: int, gpu: Gpu, assumed: Assumptions) -> Chosen | None:
    """The layout with the least of ZeRO among the fastest on so many GPUs, as a plan tells times apart no better than
    `CLOSE`. None where none fits, or where the batch cannot be shared."""
    if not divides(stage, count):
        return None
    stages = ZERO[:1] if stage.torch_only or count == 1 else ZERO
    found = [layout for zero in stages if (layout := largest(stage, count, zero, gpu, assumed)) is not None]
    chosen = [Chosen(one, peak(stage, one), stage_pace(stage, one, gpu, assumed)) for one in found]
    fastest = min((one.seconds for one in chosen), default=0.0)
    return next((one for one in chosen if one.seconds <= CLOSE * fastest), None)


def counts(most: int) -> Iterator[int]:
    """1, 2, 4, ... to `most`, which comes last."""
    count = 1
    while count < most:
        yield count
        count *= 2
    yield most


def days(stage: StageCount, chosen: Chosen) -> float:
    return chosen.seconds * stage.stage.steps / DAY


def unfit(stages: Iterable[StageCount], count: int, gpu: Gpu, assumed: Assumptions) -> VltkError | None:
    """Where a stage fits no layout on `count` of this GPU: what it needs at least, and the smallest GPU that has it."""
    for stage in stages:
        if not divides(stage, count):
            sizes = ", ".join(f"{stream.name} {stream.batch_size}" for stream in stage.streams.values())
            return VltkError(
                f"{count} GPUs cannot share the batches of stage {stage.name} equally ({sizes}): give --gpus a number "
                "that divides them"
            )
        options = ZERO[:1] if stage.torch_only else ZERO
        least = min(needed(stage, Layout(count, zero, 1), assumed) for zero in options)
        if least > gpu.bytes:
            room = sorted((one for one in gpus.every().values() if one.bytes >= least), key=lambda one: one.memory)
            takes = (
                f"the smallest that would: {room[0].name} ({room[0].memory:g} GiB)" if room else "no known GPU would"
            )
            may = stage.has_blocks and not stage.stage.checkpoint_activations
            less = f"; stages.{stage.name}.checkpoint_activations=true lowers the activations" if may else ""
            return VltkError(
                f"stage {stage.name} fits no layout on {count} x {gpu.name}: with one sample at a time it needs "
                f"{least / GIB:.1f} GiB a GPU, which has {gpu.memory:g}; {takes}{less}"
            )
    return None
