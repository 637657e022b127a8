"""Bytes of one GPU, by what they are for: plain torch, or DeepSpeed's ZeRO stages as vltk runs them.

Weights, gradients and both moments of AdamW are fp32, bf16 is autocast (vltk.train.engines): 4, 4 and 8 bytes a number.
Plain torch and stage 0 keep all of it on every GPU. Stages 1 to 3 add fp32 masters, a copy of the weights that a GPU
steps (DeepSpeed stage_1_and_2.py, stage3.py), and share out: stage 1 moments and masters, stage 2 gradients too, stage
3 weights too, which it gathers module by module and lets go of once `max_live_parameters` are there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vltk.plan.count import FP32, StageCount, StreamCount

MOMENTS = 2 * FP32
BUCKET = 500_000_000  # numbers: DeepSpeed's reduce_bucket_size
LIVE = 1_000_000_000  # numbers: its stage3_max_live_parameters
PREFETCH = 50_000_000  # numbers: its stage3_prefetch_bucket_size
KEPT = 100_000  # numbers: its stage3_param_persistence_threshold
PARTS = (
    "weights",
    "gradients",
    "moments",
    "masters",
    "replicas",
    "helpers",
    "inputs",
    "activations",
    "gather",
    "buckets",
)


@dataclass(frozen=True)
class Layout:
    """How a stage is laid out. zero: DeepSpeed's stage, None for plain torch; micro_batch: most samples at a time."""

    gpus: int
    zero: int | None
    micro_batch: int

    @property
    def name(self) -> str:
        return "torch" if self.zero is None else f"ZeRO-{self.zero}"

    def local(self, stream: StreamCount) -> int:
        """Samples of a step on one GPU."""
        return stream.batch_size // self.gpus

    def micro(self, stream: StreamCount) -> int:
        """The largest of its micro-batches (see `vltk.data.stream`)."""
        return -(-self.local(stream) // self.rounds(stream))

    def rounds(self, stream: StreamCount) -> int:
        """Micro-batches of a step."""
        return -(-self.local(stream) // min(self.micro_batch, self.local(stream)))


@dataclass(frozen=True)
class Memory:
    """Bytes by part, and the most at once, which is less than their sum: activations and what follows them share.
    offloaded: what lies in the host's memory instead."""

    parts: Mapping[str, float]
    peak: float
    offloaded: float = 0.0

    @property
    def states(self) -> float:
        """What is there between steps too."""
        return sum(self.parts[name] for name in ("weights", "moments", "masters", "replicas", "helpers"))


def memory(stage: StageCount, stream: StreamCount, layout: Layout) -> Memory:
    """Of one GPU in a step of that stream, once every parameter has been stepped."""
    states, gradients, buckets, gather = _states(stage, stream, layout)
    micro, rounds = layout.micro(stream), layout.rounds(stream)
    activations = max(stream.peak.at(micro), 0.0)
    comparing = stream.comparing.at(layout.local(stream), layout.gpus)
    inputs = stream.inputs * layout.local(stream)
    whole = layout.zero in (None, 0, 1)
    alone = whole and rounds == 1  # its gradients grow while activations go
    backward = max(stream.together.at(micro), activations) if alone else activations + gradients
    compared = comparing if rounds > 1 else stream.kept.at(micro) + comparing  # accumulation compares without a graph
    most = max(backward, compared)
    flat = FP32 * stream.active if layout.gpus > 1 and layout.zero in (None, 0) else 0.0  # gradients on their way
    offloaded = _offloaded(stage, layout, states)
    parts = {
        **states,
        "gradients": gradients,
        "inputs": float(inputs),
        "activations": max(activations, compared),
        "gather": gather,
        "buckets": max(buckets, flat),
    }
    peak = sum(states.values()) + inputs + buckets + gather + max(most, gradients + flat)
    return Memory({name: parts[name] for name in PARTS}, peak, offloaded)


def _states(stage: StageCount, stream: StreamCount, layout: Layout) -> tuple[dict[str, float], float, float, float]:
    """What is there all the time by part; then gradients, buckets and gathered weights of the stream."""
    zero, world = layout.zero, layout.gpus
    every, trained = stage.parameters, stage.reached
    zero_options = _options(stage)
    shared = world if zero in (1, 2, 3) else 1
    weights = FP32 * (every / world if zero == 3 else every) + stage.buffers
    gradients = FP32 * (trained / world if zero == 3 else stream.active / (world if zero == 2 else 1))
    gather = 0.0
    if zero == 3:
        live = int(zero_options.get("stage3_max_live_parameters", LIVE))
        ahead = int(zero_options.get("stage3_prefetch_bucket_size", PREFETCH))
        gather = FP32 * min(stream.active, max(live, stage.largest[1]) + ahead)
    buckets = 0.0
    if zero in (1, 2, 3):
        copies = 2 if zero_options.get("overlap_comm", zero == 3) and zero != 3 else 1
        buckets = FP32 * copies * int(zero_options.get("reduce_bucket_size", BUCKET))
    states = {
        "weights": float(weights),
        "moments": MOMENTS * trained / shared,
        "masters": FP32 * trained / shared if zero in (1, 2, 3) else 0.0,
        "replicas": float(sum(stage.replicas.values())),
        "helpers": float(sum(stage.helpers.values())),
    }
    return states, gradients, buckets, gather


def _offloaded(stage: StageCount, layout: Layout, states: dict[str, float]) -> float:
    """Moves to the host what `offload_optimizer` and `offload_param` name; returns the bytes."""
    options = _options(stage)
    moved = 0.0
    if layout.zero in (1, 2, 3) and _device(options, "offload_optimizer"):
        moved += states["moments"] + states["masters"]
        states["moments"] = states["masters"] = 0.0
    if layout.zero == 3 and _device(options, "offload_param"):
        moved += states["weights"]
        states["weights"] = 0.0
    return moved


def _device(options: Mapping[str, Any], key: str) -> bool:
    return (options.get(key) or {}).get("device", "none") != "none"


def _options(stage: StageCount) -> Mapping[str, Any]:
    """DeepSpeed's `zero_optimization` of the recipe."""
    found: Mapping[str, Any] = (stage.stage.deepspeed or {}).get("zero_optimization", {})
    return found


def saving(stage: StageCount, gpus: int = 1) -> float:
    """Bytes of the host's memory that each of so many processes takes while a checkpoint is written: a copy of its
    equal share of weights, moments and replicas."""
    weights = FP32 * stage.parameters + stage.buffers
    return (weights + MOMENTS * stage.reached + sum(stage.replicas.values())) / gpus
