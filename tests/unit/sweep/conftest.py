"""A toy recipe of two stages in an empty folder, and a sweep over it that each test words as it likes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness import TOY

SWEEP = """\
# Two starts of the toy.
sweep: toy.yaml
seeds: [0, 1]
vary: [second]
baseline: plain
measure:
  R@1: dev text_to_image R@1
  R@10: {metric: dev image_to_text R@10, at: last}
common: {stages: {second: {steps: 40}}}
variants:
  plain: {}
  fresh: {stages: {first: null, second: {init: null}}}
"""

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes `toy.yaml` and the sweep with `old` replaced by `new`; the path of the sweep."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "toy.yaml").write_text(TOY)

    def put(old: str = "", new: str = "", text: str = SWEEP) -> Path:
        assert old in text
        path = Path("starts.yaml")
        path.write_text(text.replace(old, new, 1) if old else text)
        return path

    return put
