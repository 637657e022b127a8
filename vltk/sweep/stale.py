"""Stages of a sweep that were made by another recipe or from other data: refused, or thrown away with --redo."""

from __future__ import annotations

import shutil
from pathlib import Path

from vltk.errors import RecipeError
from vltk.identity import changes, identity, recorded
from vltk.pipeline import data_digests
from vltk.sweep.plan import Plan, Run
from vltk.train.sources import named, own_stage


def settle(plan: Plan, redo: bool) -> None:
    """Raises RecipeError with every stage that is not what the sweep says now; removes them all with `redo`."""
    found = {path: lines for run in plan.runs for path, lines in _outdated(run).items()}
    if found and not redo:
        shown = "\n".join(line for path, lines in found.items() for line in (f"  {path}:", *lines[:4]))
        raise RecipeError(
            f"these stages were made by another recipe or from other data:\n{shown}\n"
            "give the sweep another name (name=OTHER), or throw these stages away with --redo"
        )
    for path in found:
        shutil.rmtree(path)


def _outdated(run: Run) -> dict[Path, list[str]]:
    """By folder, what is different. A link is no work of this run, so it is followed but not named."""
    found: dict[Path, list[str]] = {}
    changed: set[str] = set()
    for name, stage in run.recipe.stages.items():
        folder = run.stage(name)
        facts = folder.facts()
        if not facts:
            continue
        kept = ("recipe",) if stage.loader.data_change and facts.get("status") != "finished" else ("recipe", "data")
        before, now = recorded(folder), identity(stage, data_digests(stage), {})
        lines = [f"    {line.removeprefix('recipe.')}" for key in kept for line in changes(before[key], now[key], key)]
        sources = {source for value in named(stage) if (source := own_stage(run.recipe, value)) in changed}
        lines += [f"    starts from the stage '{source}', which has changed" for source in sources]
        if lines:
            changed.add(name)
            if not folder.path.is_symlink():
                found[folder.path] = lines
    return found
