"""How long a step takes: FLOPs at a stated or measured share of the peak, the optimizer at the speed of the memory, and
what of the traffic nothing hides."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from vltk.errors import VltkError
from vltk.plan.count import StageCount, StreamCount
from vltk.plan.gpus import NODE, Gpu
from vltk.plan.memory import Layout
from vltk.plan.traffic import traffic

ADAMW = 28  # bytes of memory that a step moves a number: weight, gradient and moments read, weight and moments written
FOLLOWING = 12  # the same of a replica: both read, one written
PRODUCT = "float32"  # of embeddings that are compared


@dataclass(frozen=True)
class Measured:
    """One stream on this device: seconds of forward and backward a sample, and of what ends a step."""

    sample: float
    end: float


@dataclass(frozen=True)
class Assumptions:
    """mfu: share of the dense peak that the FLOPs reach, recomputed ones included; overlap: share of the traffic of
    ZeRO-3, and of `overlap_comm`, that backward hides; latency: seconds of a message from one GPU to the next.
    measured: by (stage, stream), instead of mfu; beside: by stage, the bytes that are taken beside the planned ones."""

    mfu: float = 0.4
    overlap: float = 0.5
    latency: float = 10e-6
    measured: Mapping[tuple[str, str], Measured] = field(default_factory=dict)
    beside: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Pace:
    """Seconds of a step."""

    compute: float
    optimizer: float
    traffic: float

    @property
    def seconds(self) -> float:
        return self.compute + self.optimizer + self.traffic


def pace(stage: StageCount, stream: StreamCount, layout: Layout, gpu: Gpu, assumed: Assumptions) -> Pace:
    """Of a step of the stream. Raises VltkError where nothing says how fast the GPU is."""
    measured = assumed.measured.get((stage.name, stream.name))
    local, rounds = layout.local(stream), layout.rounds(stream)
    if measured is not None:
        again = sum(stream.embedding.values()) / stream.flops if rounds > 1 else 0.0
        compute, optimizer = measured.sample * local * (1 + again), measured.end
    else:
        if gpu.memory_bandwidth is None:
            raise VltkError(f"how fast {gpu.name} is has to be measured: add --calibrate")
        work = dict(stream.work)
        for key, flops in stream.embedding.items() if rounds > 1 else ():
            work[key] = work.get(key, 0.0) + flops
        compute = local * sum(flops / gpu.rate(kind) for (_, kind), flops in work.items()) / assumed.mfu
        compute += stream.comparing_work.at(local, layout.gpus) / gpu.rate(PRODUCT) / assumed.mfu
        shared = layout.gpus if layout.zero in (1, 2, 3) else 1
        moved = ADAMW * stream.active / shared + FOLLOWING / 4 * sum(stage.replicas.values())
        optimizer = moved / (gpu.memory_bandwidth * 1e9)
    return Pace(compute, optimizer, exposed(stage, stream, layout, gpu, assumed))


def exposed(stage: StageCount, stream: StreamCount, layout: Layout, gpu: Gpu, assumed: Assumptions) -> float:
    """Seconds of the traffic of a step that nothing hides."""
    if layout.gpus == 1:
        return 0.0
    sent = traffic(stage, stream, layout)
    speed = (gpu.link if layout.gpus <= NODE else gpu.network) * 1e9
    hops = math.ceil(math.log2(layout.gpus))
    messages = {name: 1 if size else 0 for name, size in sent.items()}
    if layout.zero == 3:
        messages["weights"] = 2 * stage.gathers * layout.rounds(stream)
    seconds = {name: size / speed + messages[name] * hops * assumed.latency for name, size in sent.items()}
    asked = ((stage.stage.deepspeed or {}).get("zero_optimization") or {}).get("overlap_comm", layout.zero == 3)
    hidden = assumed.overlap if asked and layout.zero in (1, 2, 3) else 0.0
    return (seconds["gradients"] + seconds["weights"]) * (1 - hidden) + seconds["embeddings"]


def stage_pace(stage: StageCount, layout: Layout, gpu: Gpu, assumed: Assumptions) -> float:
    """Seconds of a step, mean over the streams by their share."""
    return sum(s.share * pace(stage, s, layout, gpu, assumed).seconds for s in stage.streams.values())
