"""Stores the losses anew, after a change that is meant to change them: python -m tests.golden.refresh [NAME ...]

Names are those of the objectives, `order`, and `work`. Say in the changelog why they changed.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

from tests import harness
from tests.golden.curves import FOLDER, OBJECTIVES, curve, order
from tests.golden.work import work


def main(names: list[str]) -> None:
    others = {"order": _order, "work": work}
    for name in names or [*OBJECTIVES, *others]:
        path = FOLDER / f"{name}.json"
        path.write_text(json.dumps(others[name]() if name in others else curve(name), indent=1) + "\n")
        print(path)


def _order() -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        harness.shapes.generate(Path(folder), sizes=harness.SIZES)
        os.environ["VLTK_DATA"] = folder
        return order()


if __name__ == "__main__":
    main(sys.argv[1:])
