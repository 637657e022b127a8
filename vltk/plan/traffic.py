"""Bytes that a GPU sends in a step: gradients, weights, and embeddings that are compared across GPUs.

Rings are counted: an all-reduce of n bytes among P sends 2 n (P - 1) / P, a gather or a scatter half of that.
DeepSpeed's stages 1 and 2 all-reduce gradients (its use_multi_rank_bucket_allreduce), 1 once a step and 2 with every
micro-batch, and gather the stepped weights, of idle towers too; stage 3 gathers weights for each forward and each
backward, and scatters gradients.
"""

from __future__ import annotations

from vltk.plan.count import FP32, StageCount, StreamCount
from vltk.plan.memory import Layout


def traffic(stage: StageCount, stream: StreamCount, layout: Layout) -> dict[str, float]:
    """Bytes by `gradients`, `weights` and `embeddings`."""
    world, rounds = layout.gpus, layout.rounds(stream)
    ring = (world - 1) / world
    active, every = FP32 * stream.active * ring, FP32 * stage.reached * ring
    gradients, weights = {
        None: (2 * active, 0.0),
        0: (2 * active, 0.0),
        1: (2 * active, every),
        2: (2 * active * rounds, every),
        3: (active * rounds, active * (2 * rounds + (rounds if rounds > 1 and stream.gathered else 0))),
    }[layout.zero]
    embeddings = 2 * stream.gathered * layout.local(stream) * (world - 1)  # gathered, and their gradients back
    return {"gradients": gradients, "weights": weights, "embeddings": float(embeddings)}
