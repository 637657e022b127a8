"""`vltk plan`, once its options are read."""

from __future__ import annotations

import json
from dataclasses import replace

from vltk.log import console
from vltk.plan import gpus, show
from vltk.plan.make import Wishes, plan
from vltk.plan.pace import Assumptions
from vltk.recipe import Recipe

__all__ = ["Wishes", "tell"]


def tell(recipe: Recipe, wishes: Wishes, mfu: float, calibrate: bool, as_json: bool) -> None:
    """Prints the plan as tables or JSON. Raises what `plan` and `calibrate` raise."""
    gpus.find(wishes.gpu)  # before anything is measured
    assumed = Assumptions(mfu=mfu)
    if calibrate:
        from vltk.plan.calibrate import calibrate as measure

        assumed = replace(assumed, measured=measure(recipe).paces)
    found = plan(recipe, replace(wishes, assumed=assumed))
    if as_json:
        print(json.dumps(found, indent=1, allow_nan=False))
        return
    for part in show.tables(found):
        console.print(part)
