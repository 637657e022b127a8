"""What a task card says of a fine-tuning, and what its budget makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import Field

Count = Annotated[int, Field(gt=0)]
Steps = Annotated[int, Field(ge=0)]
Limit = Annotated[int | None, Field(gt=0)]
Rate = Annotated[float, Field(gt=0)]
Test = str | list[str] | dict[str, str] | None
Budget = Literal["full", "short", "smoke"]
OF_CLASSES = ("accuracy", "mean per-class accuracy", "Matthews correlation", "loss", "F1", "ROC AUC")
OF_SCORES = ("Pearson correlation", "Spearman correlation")
OF_ANSWERS = ("VQA accuracy",)
AT_RANDOM = "at random weights"
LAST = "last step"  # a selection
SMOKE_STEPS, SMOKE_SAMPLES = 20, 200
PASSES, SIZE = 3, 224  # forward and twice that backward; pixels of an image


@dataclass(frozen=True)
class Plan:
    """Of `train` to `test`, split by split with what stands before its metrics; empty: a part of train is held out.

    steps: of the full budget; short: those of the short one. warmup and image_size are those of the full budget.
    encoders: which of the run's are trained; head and optimizer: options of the model `finetuned` and of a stage.
    select: the metric on the first test split whose best weights are scored (None: the last weights are).
    """

    encoders: tuple[str, ...]
    train: str
    test: Mapping[str, str]
    label: str
    steps: int
    short: int
    batch_size: int
    lr: float
    warmup: int
    max_length: int
    head: Mapping[str, Any]
    optimizer: Mapping[str, Any]
    encoder_dropout: float
    select: str | None
    evaluations: int
    budget: Budget
    seeds: int
    limit: int | None
    random_weights: bool
    micro_batch: int | None
    image_size: int | None = None
    short_image_size: int | None = None

    @property
    def metrics(self) -> list[str]:
        """The names of all that may be measured; what the data asks for decides which are."""
        before, behind = dict.fromkeys(self.test.values()) or [""], ["", *([AT_RANDOM] if self.random_weights else [])]
        names = [*OF_CLASSES, *OF_SCORES, *OF_ANSWERS]
        return [" ".join(filter(None, (one, name, end))) for end in behind for one in before for name in names]

    @property
    def reads(self) -> list[str]:
        """Parts of the model that are fine-tuned."""
        return [*self.encoders, *(["fusion"] if len(self.encoders) > 1 else [])]

    @property
    def cost(self) -> float:
        """How long it takes, in images of 224 pixels that are encoded: three for each sample and encoder that is
        trained, larger images by their area."""
        plan = self.under_budget()
        trainings = plan.seeds * (2 if plan.random_weights else 1)
        area = ((plan.image_size or SIZE) / SIZE) ** 2 if "image" in plan.encoders else 1
        return PASSES * plan.steps * plan.batch_size * len(plan.encoders) * area * trainings

    @property
    def comparable(self) -> bool:
        """Whether nothing was shortened: only then may the result stand beside a published one."""
        return self.budget == "full" and self.limit is None

    def under_budget(self) -> Plan:
        """The plan with the numbers of its budget; a shorter training warms up for the same share of its steps."""
        if self.budget == "full":
            return self
        steps = min(self.steps, self.short if self.budget == "short" else SMOKE_STEPS)
        limit = min(self.limit or SMOKE_SAMPLES, SMOKE_SAMPLES) if self.budget == "smoke" else self.limit
        size = self.short_image_size or self.image_size if self.budget == "short" else None
        return replace(self, steps=steps, warmup=round(self.warmup * steps / self.steps), limit=limit, image_size=size)

    @property
    def every(self) -> int:
        """Steps between checkpoints, and between evaluations where the best weights are looked for."""
        return max(1, self.steps // self.evaluations)


def by_split(test: Test) -> dict[str, str]:
    """What stands before the metrics of each test split."""
    if isinstance(test, dict):
        return test
    return dict.fromkeys([test] if isinstance(test, str) else test or [], "")
