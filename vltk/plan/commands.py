"""`vltk plan`, once its options are read."""

from __future__ import annotations

import json
from dataclasses import replace

from vltk.errors import VltkError
from vltk.log import console
from vltk.plan import gpus, show
from vltk.plan.calibrate import Calibration
from vltk.plan.calibrate import calibrate as measure
from vltk.plan.make import Wishes, plan
from vltk.plan.pace import Assumptions
from vltk.recipe import Recipe

__all__ = ["Wishes", "tell"]


def tell(recipe: Recipe, wishes: Wishes, mfu: float, calibrate: bool, as_json: bool) -> None:
    """Prints the plan as tables or JSON. Raises what `plan` and `calibrate` raise."""
    gpus.find(wishes.gpu)  # before anything is measured
    measured = _measured(recipe, wishes.gpu) if calibrate else None
    found = plan(recipe, replace(wishes, assumed=Assumptions(mfu=mfu), measured=measured))
    if as_json:
        print(json.dumps(found, indent=1, allow_nan=False))
        return
    for part in show.tables(found):
        console.print(part)


def _measured(recipe: Recipe, gpu: str) -> Calibration:
    """Raises VltkError where this machine is not what is planned for."""
    import torch

    if torch.cuda.is_available() == (gpu == gpus.CPU):
        has = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
        right = "its name as --gpu" if torch.cuda.is_available() else f"--gpu {gpus.CPU}"
        raise VltkError(f"--calibrate measures this machine, which has {has}: give {right}, not {gpu}")
    return measure(recipe)
