"""A fine-tuning from beginning to end: data, training at each seed, scores, and what stands beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median_low
from typing import TYPE_CHECKING, Any

import numpy as np

from vltk.errors import VltkError
from vltk.eval.answers import Answers
from vltk.eval.datasets._rules import held_out
from vltk.eval.features import Samples
from vltk.eval.finetuning.plan import AT_RANDOM, LAST, Plan
from vltk.eval.finetuning.score import keep, outputs
from vltk.eval.finetuning.stage import compose, require_encoders
from vltk.eval.finetuning.target import IMAGE, Metrics, Target, target_of
from vltk.eval.finetuning.train import BATCH, finetuned
from vltk.eval.finetuning.trainable import Trainable
from vltk.eval.results import Score

if TYPE_CHECKING:
    from vltk.eval.features import Subject


def finetune(subject: Subject, given: Plan) -> list[Score]:
    """The scores of every metric on each test split: the median over the seeds, of an even number the lower middle one.

    Raises Missing where data is absent, VltkError where the run lacks an encoder that the task trains, or data a label.
    """
    plan = given.under_budget()
    require_encoders(subject.trained, plan.encoders)
    train, tests = _data(subject, plan)
    target = target_of(train, plan.label)
    for samples in tests:
        _require_scorable(target, samples)
    seeds = range(subject.seed, subject.seed + plan.seeds)
    scores = []
    fresh = subject.trained.fresh
    for random_weights in [False, True] if plan.random_weights and not fresh else [fresh]:
        found = {seed: _one(subject, plan, train, tests, target, seed, random_weights) for seed in seeds}
        scores += _merged(tests, plan, found, AT_RANDOM if random_weights and not fresh else "")
    return scores


def _require_scorable(target: Target, samples: Samples) -> None:
    """Raises VltkError where no model could be scored on these labels: before anything trains, not hours later."""
    try:
        target.metrics(np.zeros((len(samples), target.outputs), np.float32), samples)
    except VltkError as error:
        told = str(error)
        raise VltkError(told if told.startswith(samples.data) else f"{samples.data}: {told}") from None


@dataclass(frozen=True)
class _Found:
    """Of one training, by test split: its metrics, what they come from, and facts of it for the results."""

    metrics: list[Metrics]
    answers: list[Answers]
    facts: list[dict[str, Any]]


def _data(subject: Subject, plan: Plan) -> tuple[Samples, list[Samples]]:
    """The samples to train on, and those to test on; without a test split a fifth of the first, whole images of it."""
    if plan.test:
        return subject.samples(plan.train, plan.limit), [subject.samples(data, plan.limit) for data in plan.test]
    train, test = (Samples(subject, plan.train, plan.limit) for _ in range(2))
    groups = {str(position): _group(train, position) for position in train.positions.tolist()}
    same = np.zeros(len(train), np.int64)
    held = held_out(list(groups), same, f"vltk {plan.train} finetune {subject.seed}", groups.__getitem__)
    train.positions, test.positions = train.positions[~held], test.positions[held]
    test.split = f"{train.split} held out"
    return train, [test]


def _group(samples: Samples, position: int) -> str:
    sample = samples.source.read_texts(position)
    return str(sample.facts.get(IMAGE, sample.key))


def _one(
    subject: Subject, plan: Plan, train: Samples, tests: list[Samples], target: Target, seed: int, random_weights: bool
) -> _Found:
    stage = compose(subject.trained, plan, target, seed, random_weights)
    dev = tests[0] if plan.select else None
    trained, folder = finetuned(subject.trained, stage, plan, Trainable(train, target), dev)
    metrics, answers, facts = [], [], []
    for samples in tests:
        rows, cut = outputs(trained, samples, BATCH)
        split = samples.split.replace(" ", "-")
        title = " ".join([f"{split} seed {seed}", *([AT_RANDOM] if random_weights else [])])
        own = target.answers(rows, samples, title)
        keep(folder / f"predictions-{split}.npz", rows, samples, own)
        metrics.append(target.metrics(rows, samples))
        answers.append(own)
        facts.append({"folder": str(folder), "step": trained.step, "cut": cut})
    return _Found(metrics, answers, facts)


def _merged(tests: list[Samples], plan: Plan, found: dict[int, _Found], suffix: str) -> list[Score]:
    scores = []
    for number, samples in enumerate(tests):
        runs = {seed: one.metrics[number] for seed, one in found.items()}
        facts = {seed: one.facts[number] for seed, one in found.items()}
        for metric, (_, chance) in next(iter(runs.values())).items():
            values = {seed: metrics[metric][0] for seed, metrics in runs.items()}
            value = median_low(values.values())
            middle = next(seed for seed in values if values[seed] == value)
            name = " ".join(word for word in (plan.test.get(samples.data, ""), metric, suffix) if word)
            detail, own = _detail(plan, values, facts), found[middle].answers[number].part(metric)
            scores.append(Score(samples.split, name, value, len(own), chance, detail, own))
    return scores


def _detail(plan: Plan, values: dict[int, float], facts: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """How the value came about. `spread`: from the lowest to the highest of the seeds."""
    selection = f"best {plan.select} on the first test split" if plan.select else LAST
    steps = [one["step"] for one in facts.values()]
    detail: dict[str, Any] = {"budget": plan.budget, "comparable": plan.comparable, "steps": plan.steps}
    detail |= {"selection": selection, "selected_steps": steps, "texts_cut": next(iter(facts.values()))["cut"]}
    detail |= {"seeds": {str(seed): value for seed, value in values.items()}, "spread": _spread(list(values.values()))}
    return detail | {"folders": [one["folder"] for one in facts.values()]}


def _spread(values: Sequence[float]) -> float:
    return max(values) - min(values)
