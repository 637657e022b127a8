"""How right a fine-tuned model is on a split of its task: what `finetune_text` and `finetune_pair` score it with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from vltk.errors import VltkError
from vltk.eval.finetuning.plan import OF_ANSWERS, OF_CLASSES, OF_SCORES
from vltk.eval.results import Score

if TYPE_CHECKING:  # features imports torch: seconds that a message about missing data must not cost
    from vltk.eval.features import Subject

Count = Annotated[int, Field(gt=0)]
Limit = Annotated[int | None, Field(gt=0)]


class FinetunedOn:
    """Every metric of the fine-tuned run on `data`, for `label` (of official data sets `class`).

    `limit` samples are drawn by the seed (None: all).
    """

    def __init__(self, *, data: str, label: str = "class", limit: Limit = None, batch_size: Count = 64) -> None:
        self.data, self.label, self.limit, self.batch_size = data, label, limit, batch_size

    @property
    def data_sets(self) -> list[str]:
        return [self.data]

    @property
    def metrics(self) -> list[str]:
        return [*OF_CLASSES, *OF_SCORES, *OF_ANSWERS]

    def __call__(self, subject: Subject) -> list[Score]:
        """Raises VltkError for a run that is not fine-tuned, or was on a task with another number of answers."""
        from vltk.eval.finetuning.score import outputs
        from vltk.eval.finetuning.target import target_of

        trained = subject.trained
        if not hasattr(trained.model, "answer"):
            raise VltkError(f"the run {trained.name} is not fine-tuned: give one of its folders in finetune/")
        samples = subject.samples(self.data, self.limit)
        target = target_of(samples, self.label)
        rows, _ = outputs(trained, samples, self.batch_size)
        if rows.shape[1] != target.outputs:
            raise VltkError(f"the run {trained.name} gives {rows.shape[1]} answers, {self.data} has {target.outputs}")
        found = target.metrics(rows, samples)
        own = target.answers(rows, samples, samples.split)
        parts = {name: own.part(name) for name in found}
        return [
            Score(samples.split, name, value, len(parts[name]), chance, answers=parts[name])
            for name, (value, chance) in found.items()
        ]
