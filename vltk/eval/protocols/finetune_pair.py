"""Fine-tuning of all encoders on images with texts: VQA, SNLI-VE, Hateful Memes (FLAVA, arXiv 2112.04482 section 5).

The paper gives batch 256, AdamW with a decay of 1e-2, 2,000 steps of warm-up, then a cosine, and a head of two layers
with 1,536 between them; it names no betas, clipping or dropout, nor which weights are scored: here torch's betas, a
norm of 1, dropout in the head alone, and the last step.
"""

from __future__ import annotations

from typing import Any

from vltk.eval.finetuning.plan import Budget, Count, Limit, Plan, Rate, Steps, Test, by_split
from vltk.eval.protocols._planned import Planned

OPTIMIZER: dict[str, Any] = {"weight_decay": 1e-2, "schedule": "cosine", "clip": 1.0}
HEAD: dict[str, Any] = {"head_width": 1536, "activation": "gelu", "dropout": 0.1}
DROPOUT = 0.0


class FinetunePair(Planned):
    """Every metric on `test` of image encoder, text encoder and fusion trained on `train`, the median over `seeds`.

    A run without fusion has its image and text vectors put together under the same head. Samples with `answers` are
    open questions (VQA), others have a `label`. image_size: larger images get positions interpolated from the run's;
    null takes the run's own size. test, select, budget, limit and random_weights: as in `finetune_text`.
    """

    def __init__(
        self,
        *,
        train: str,
        test: Test,
        steps: Count,
        short: Count | None = None,
        batch_size: Count = 256,
        lr: Rate = 1e-5,
        warmup: Steps = 2000,
        image_size: Count | None = None,
        short_image_size: Count | None = None,
        label: str = "class",
        max_length: Count = 77,
        select: str | None = None,
        evaluations: Count = 10,
        budget: Budget = "full",
        seeds: Count = 1,
        limit: Limit = None,
        random_weights: bool = False,
        micro_batch: Count | None = 32,
    ) -> None:
        self.plan = Plan(
            encoders=("image", "text"), train=train, test=by_split(test), label=label, steps=steps,
            short=short or steps, batch_size=batch_size, lr=lr, warmup=warmup, image_size=image_size,
            short_image_size=short_image_size, max_length=max_length, head=HEAD, optimizer=OPTIMIZER,
            encoder_dropout=DROPOUT, select=select, evaluations=evaluations, budget=budget, seeds=seeds, limit=limit,
            random_weights=random_weights, micro_batch=micro_batch,
        )  # fmt: skip
