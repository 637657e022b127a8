"""How many captions of drawn scenes (the data set `shapes`) say the truth, by what is stored of each scene.

A caption is read by the grammar of the data set; one that the grammar does not give is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vltk.data.shapes.reading import judge
from vltk.data.shapes.scene import Scene
from vltk.data.shapes.statements import KINDS

EXACT, READABLE = "exactly right", "in the grammar"
RIGHT = {kind: f"right about {kind}" for kind in KINDS}
METRICS = (EXACT, READABLE, *RIGHT.values())


def judged(texts: Sequence[str], scenes: Sequence[Scene]) -> dict[str, NDArray[np.float64]]:
    """Each metric, 100 where a caption is right and 0 where not: EXACT and READABLE (N,) of all captions.

    Those of a kind are of the readable captions that say something of it, and absent where none does.
    """
    found = [judge(text, scene) for text, scene in zip(texts, scenes, strict=True)]
    right = {EXACT: [told is not None and all(told.values()) for told in found]}
    right |= {READABLE: [told is not None for told in found]}
    right |= {name: [told[kind] for told in found if told and kind in told] for kind, name in RIGHT.items()}
    return {name: 100 * np.array(values, np.float64) for name, values in right.items() if values}
