"""Which layout of a stage fits a GPU, which is fastest on a number of them, and which number costs least."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from vltk.data.stream import slices_of
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
    """Whether so many GPUs share every batch equally, no group of samples cut."""
    return all(stream.batch_size % (count * stream.group) == 0 for stream in stage.streams.values())


def whole(stage: StageCount, layout: Layout) -> bool:
    """Whether no micro-batch holds a part of a group of samples."""
    return all(
        len(part) % stream.group == 0
        for stream in stage.streams.values()
        if stream.group > 1
        for part in slices_of(stream.batch_size, layout.micro_batch, 0, layout.gpus)
    )


def even(stage: StageCount, layout: Layout) -> Layout:
    """The same with the micro-batch that really runs: as many parts, of equal sizes."""
    return replace(layout, micro_batch=max(layout.micro(stream) for stream in stage.streams.values()))


def smallest(stage: StageCount, count: int, zero: int | None) -> Layout:
    """The one with the least samples at a time, on GPUs that share the batches."""
    sizes = range(1, _most(stage, count) + 1)
    return next(layout for size in sizes if whole(stage, layout := Layout(count, zero, size)))


def largest(stage: StageCount, count: int, zero: int | None, gpu: Gpu, assumed: Assumptions) -> Layout | None:
    """The one with the largest micro-batch that fits; None where not even the smallest does."""
    most = _most(stage, count)
    fits, fails = 0, most + 1
    while fails - fits > 1:
        size = most if fails > most and fits == 0 else (fits + fails) // 2
        if needed(stage, Layout(count, zero, size), assumed) <= gpu.bytes:
            fits = size
        else:
            fails = size
    while fits:
        layout = even(stage, Layout(count, zero, fits))
        if whole(stage, layout):
            return layout
        fits = layout.micro_batch - 1
    return None


def _most(stage: StageCount, count: int) -> int:
    """Samples of the largest share of a GPU."""
    return max(stream.batch_size // count for stream in stage.streams.values())


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
            sizes = ", ".join(
                f"{stream.name} {stream.batch_size}" + f" in groups of {stream.group}" * (stream.group > 1)
                for stream in stage.streams.values()
            )
            return VltkError(
                f"{count} GPUs cannot share the batches of stage {stage.name} equally ({sizes}): give --gpus a number "
                "that divides them"
            )
        options = ZERO[:1] if stage.torch_only else ZERO
        tiniest = [smallest(stage, count, zero) for zero in options]
        least, size = min(needed(stage, layout, assumed) for layout in tiniest), tiniest[0].micro_batch
        if least > gpu.bytes:
            samples = "one sample" if size == 1 else f"{size} samples"
            room = sorted((one for one in gpus.every().values() if one.bytes >= least), key=lambda one: one.memory)
            takes = (
                f"the smallest that would: {room[0].name} ({room[0].memory:g} GiB)" if room else "no known GPU would"
            )
            may = stage.has_blocks and not stage.stage.checkpoint_activations
            less = f"; stages.{stage.name}.checkpoint_activations=true lowers the activations" if may else ""
            return VltkError(
                f"stage {stage.name} fits no layout on {count} x {gpu.name}: with {samples} at a time "
                f"it needs {least / GIB:.1f} GiB a GPU, which has {gpu.memory:g}; {takes}{less}"
            )
    return None
