"""What the fine-tunings share: all that a suite asks of a task is in the plan of its training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vltk.eval.finetuning.plan import Plan
from vltk.eval.results import Score

if TYPE_CHECKING:  # features imports torch: seconds that a message about missing data must not cost
    from vltk.eval.features import Subject


class Planned:
    """A protocol that trains by `plan`."""

    plan: Plan

    @property
    def data_sets(self) -> list[str]:
        return [self.plan.train, *self.plan.test]

    @property
    def cost(self) -> float:
        """In images encoded."""
        return self.plan.cost

    @property
    def reads(self) -> list[str]:
        """Parts of the model."""
        return self.plan.reads

    @property
    def metrics(self) -> list[str]:
        return self.plan.metrics

    def __call__(self, subject: Subject) -> list[Score]:
        """Raises VltkError for a run without one of the encoders, data without the label, a sample that is broken."""
        from vltk.eval.finetuning.task import finetune

        return finetune(subject, self.plan)
