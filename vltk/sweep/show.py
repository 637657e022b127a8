"""A sweep in words: what it says, what it would train, what it has found so far."""

from __future__ import annotations

from collections.abc import Iterator

import yaml

from vltk.recipe_files import Tree, shown
from vltk.sweep.load import Sweep
from vltk.sweep.plan import Plan, Run


def describe(sweep: Sweep) -> list[str]:
    """The sweep as YAML, each value with the place it comes from."""
    return list(_lines(sweep.tree, 0))


def runs(plan: Plan) -> list[str]:
    """What would be done: a line a run, with its stages, their steps, and which are finished or another run's."""
    sweep = plan.sweep
    stages = sum(len(run.recipe.stages) for run in plan.runs)
    head = (
        f"{shown(sweep.path)}: {len(sweep.variants)} variants x {len(sweep.options.seeds)} seeds = {len(plan.runs)} "
        f"runs of {sweep.options.sweep}; {stages} stages, {plan.trainings()} of them trained, the others shared"
    )
    width = max(len(run.name) for run in plan.runs)
    return [head, *(f"  {run.name:<{width}}  {', '.join(_stages(plan, run))}" for run in plan.runs)]


def _stages(plan: Plan, run: Run) -> Iterator[str]:
    for name, stage in run.recipe.stages.items():
        other, maker = plan.makers[run.keys[name]]
        if run.is_finished(name):
            yield f"{name}: finished"
        elif other is run:
            yield f"{name}: {stage.steps} steps"
        else:
            yield f"{name}: that of {other.name}{'' if maker == name else f', {maker}'}"


def _lines(tree: Tree, depth: int) -> Iterator[str]:
    for key, child in tree.value.items():
        head = f"{'  ' * depth}{key}:"
        if isinstance(child.value, dict) and child.value:
            yield head
            yield from _lines(child, depth + 1)
        else:
            text = yaml.safe_dump([child.plain()], default_flow_style=True, width=1_000_000, sort_keys=False)
            yield f"{head} {text.strip()[1:-1]}".ljust(56) + f"  # {child.origin}"
