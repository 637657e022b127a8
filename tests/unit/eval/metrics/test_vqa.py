"""The VQA score against the official evaluation's rule, word by word."""

from __future__ import annotations

from itertools import product

import pytest

from vltk.errors import VltkError
from vltk.eval.metrics.vqa import accuracy, scores


def official(answer: str, annotated: list[str]) -> float:
    each = []
    for left_out in range(len(annotated)):
        others = annotated[:left_out] + annotated[left_out + 1 :]
        each.append(min(1, sum(other == answer for other in others) / 3))
    return sum(each) / len(each)


@pytest.mark.parametrize("matches,score", [(0, 0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1), (10, 1)])
def test_the_table_of_ten_annotators(matches: int, score: float) -> None:
    annotated = ["yes"] * matches + ["no"] * (10 - matches)
    assert scores(["yes"], [annotated])[0] == pytest.approx(score)
    assert official("yes", annotated) == pytest.approx(score)


def test_against_the_rule_for_any_number_of_annotators() -> None:
    for people, matches in product(range(2, 12), range(12)):
        annotated = ["a"] * min(matches, people) + ["b"] * max(0, people - matches)
        assert scores(["a"], [annotated])[0] == pytest.approx(official("a", annotated))


def test_accuracy_is_the_mean_in_percent() -> None:
    assert accuracy(["a", "b"], [["a"] * 3 + ["c"] * 7, ["c"] * 10]) == pytest.approx(45)


def test_wrong_input_is_named() -> None:
    with pytest.raises(VltkError, match="1 answers to 2 questions"):
        scores(["a"], [["a"] * 10, ["b"] * 10])
    with pytest.raises(VltkError, match="two annotators or more; got .'a'"):
        scores(["a"], [["a"]])
