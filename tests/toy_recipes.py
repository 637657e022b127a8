"""The recipes that the tests of recipes read, over the toy parts, and what they share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from vltk.errors import RecipeError
from vltk.recipe import load

BASE = """\
optimizer: {lr: 5e-4, warmup: 10}
name: base
"""
CODES = """\
model: {part: dvae, codes: 7}
streams: {image: {data: [scenes/images], batch_size: 4, objectives: {mim: {ratio: .3}}}}
steps: 1e2
"""
FLAVA = """\
# FLAVA, but small.
include: [base.yaml]
model: {part: flava, width: 32}
stages:
  codes: {include: codes.yaml, optimizer: {lr: 1e-2, clip: null}}
  joint:
    frozen: {codes: codes}
    steps: 20
    deepspeed: {zero: {bucket: 5e8, offload: null}}
    evaluate: {tasks: {dev: {part: retrieval, data: scenes/dev}}, best: dev text_to_image R@1}
    streams:
      pairs: {data: [scenes/train], batch_size: 8, weight: 3, objectives: {itc: {}, mim: {}}}
"""
DEBUG = """\
steps: 2
optimizer: {warmup: 0}
"""
SINGLE = """\
model: flava
steps: 3
streams: {text: {data: [a], batch_size: 2, objectives: {itc: {}}}}
"""

Write = Callable[[str, str], Path]
FILES = {"base.yaml": BASE, "codes.yaml": CODES, "flava.yaml": FLAVA, "debug.yaml": DEBUG, "single.yaml": SINGLE}


def mistakes(name: str | Path, *overrides: str) -> list[str]:
    with pytest.raises(RecipeError) as error:
        load(name, overrides)
    assert error.value.exit_code == 2
    return error.value.problems
