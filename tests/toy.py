"""A tiny package of parts beside vltk, so that tests of recipes and parts depend on no real part."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from vltk import parts

NAME = "toyparts"
FILES = {
    "objectives/itc.py": '''
"""Contrast."""
from __future__ import annotations
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from nowhere import Model

class Contrast:
    """Pulls pairs together."""

    def __init__(self, model: Model, scale: float = 1.0, *, temperature: float = 0.07, smooth: float = 0.0) -> None:
        self.model, self.scale, self.temperature, self.smooth = model, scale, temperature, smooth
''',
    "objectives/mim.py": '''
"""Masked patches."""
from typing import Literal

class Mim:
    def __init__(
        self, model, codes, *, ratio: float = 0.4, kind: Literal["block", "random"] = "block", flat: bool = False
    ) -> None:
        self.model, self.codes, self.ratio = model, codes, ratio
''',
    "objectives/_private.py": "class Helper: ...\n",
    "models/encoders/vit.py": '''
"""Patches."""

class Vit:
    def __init__(self, *, depth: int, width: int = 8) -> None:
        self.depth, self.width = depth, width

class _Patch: ...
''',
    "models/families/flava.py": '''
"""Two encoders."""
from typing import Annotated
from vltk.parts import Choice, From

class Flava:
    def __init__(self, *, width: int = 64, image: Annotated[Choice | None, From("models/encoders")] = None) -> None:
        self.width = width
        self.image = image.build() if image else None
''',
    "models/codebooks/dvae.py": '''
"""A visual vocabulary."""

class Dvae:
    def __init__(self, *, codes: int = 64) -> None:
        self.codes = codes
''',
    "eval/protocols/retrieval.py": '''
"""Retrieval."""

class Retrieval:
    def __init__(self, *, data: str, limit: int | None = None) -> None:
        self.data, self.limit = data, limit
''',
    "data/views/two.py": "class One: ...\nclass Two: ...\n",
}


def install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writes the package and makes it the place where parts are looked for."""
    for path, text in {"__init__.py": "", **FILES}.items():
        file = folder / NAME / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    for module in [name for name in sys.modules if name.partition(".")[0] == NAME]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(parts, "PACKAGE", NAME)
