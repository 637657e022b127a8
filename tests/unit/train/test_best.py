"""Which weights are the best so far, and which of the kept ones a run may still need."""

from __future__ import annotations

from pathlib import Path

import pytest

from vltk.train import best


@pytest.mark.parametrize(
    ("metric", "value", "before", "better"),
    [
        ("text_to_image R@1", 3.0, None, True),
        ("text_to_image R@1", 3.0, 2.0, True),
        ("text_to_image R@1", 2.0, 2.0, False),
        ("accuracy", 1.0, 2.0, False),
        ("text_to_image median rank", 3.0, 4.0, True),
        ("text_to_image median rank", 4.0, 3.0, False),
        ("perplexity", 3.0, 2.0, True),
        ("dead codes", 3.0, 2.0, False),
    ],
)
def test_the_direction_of_a_metric(metric: str, value: float, before: float | None, better: bool) -> None:
    assert best.improves(metric, value, before) is better


def test_what_is_kept(tmp_path: Path) -> None:
    """Checkpoints of steps 6 and 9 go back to the best before them; an evaluation at 9 comes behind its checkpoint."""
    for step in (1, 3, 6, 8, 9):
        best.path_of(tmp_path, step).touch()
    (tmp_path / "model.safetensors").touch()
    best.tidy(tmp_path, oldest=6)
    assert list(best.kept(tmp_path)) == [3, 6, 8, 9]
    best.drop(tmp_path, first=9)
    assert list(best.kept(tmp_path)) == [3, 6, 8]
    best.drop(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]
