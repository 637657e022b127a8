"""Fine-tuning of the text encoder on sentences and pairs of them (GLUE), as RoBERTa does it on each task.

Source: fairseq examples/roberta/config/finetuning, which FLAVA takes without a search (arXiv 2112.04482 section 5).
Ours: no dropout on attention weights, and one [SEP] between two sentences.
"""

from __future__ import annotations

from typing import Any

from vltk.eval.finetuning.plan import Budget, Count, Limit, Plan, Rate, Steps, Test, by_split
from vltk.eval.protocols._planned import Planned

OPTIMIZER: dict[str, Any] = {
    "betas": (0.9, 0.98), "eps": 1e-6, "weight_decay": 0.1, "schedule": "linear", "clip": None,
}  # fmt: skip
HEAD: dict[str, Any] = {"activation": "tanh", "dropout": 0.1}  # RobertaClassificationHead
DROPOUT = 0.1


class FinetuneText(Planned):
    """Every metric on `test` of the text encoder fine-tuned on `train`, the median over `seeds` trainings.

    test: a split, or several with what stands before their metrics; null holds out a fifth of `train`.
    select: the metric by which the best of `evaluations` weights are taken, on the very split that is then reported, as
    RoBERTa does; null takes the last. budget: `short` trains `short` steps, `smoke` 20 on 200 samples; neither is
    comparable. `limit` samples of each split are drawn by the seed. `random_weights` fine-tunes the same encoder,
    freshly initialised, beside it.
    """

    def __init__(
        self,
        *,
        train: str,
        test: Test,
        steps: Count,
        short: Count | None = None,
        batch_size: Count = 16,
        lr: Rate = 1e-5,
        warmup: Steps = 0,
        label: str = "class",
        max_length: Count = 512,
        select: str | None = "accuracy",
        evaluations: Count = 10,
        budget: Budget = "full",
        seeds: Count = 1,
        limit: Limit = None,
        random_weights: bool = False,
        micro_batch: Count | None = None,
    ) -> None:
        self.plan = Plan(
            encoders=("text",), train=train, test=by_split(test), label=label, steps=steps, short=short or steps,
            batch_size=batch_size, lr=lr, warmup=warmup, max_length=max_length, head=HEAD, optimizer=OPTIMIZER,
            encoder_dropout=DROPOUT, select=select, evaluations=evaluations, budget=budget, seeds=seeds, limit=limit,
            random_weights=random_weights, micro_batch=micro_batch,
        )  # fmt: skip
