"""Sentences behind one another, and the labels beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vltk.data.draft import Draft
from vltk.data.image import BadSample
from vltk.data.members import Sample
from vltk.data.sequence import joined, shortened
from vltk.data.text import Tokenizer
from vltk.data.views.answers import Answers
from vltk.data.views.label import Label
from vltk.data.views.sentences import Sentences

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "c"]


@pytest.fixture
def tokenizer(tmp_path: Path) -> Tokenizer:
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    return Tokenizer(tmp_path / "vocab.txt", 8)


def draft(tokenizer: Tokenizer | None = None, texts: tuple[str, ...] = (), **meta: Any) -> Draft:
    return Draft(
        Sample("k", None, list(texts), meta),
        None,  # type: ignore[arg-type]
        key=(0,), position=0, place=(0, 0), step_positions=range(1), decoded=None,  # type: ignore[arg-type]
        image=None, tokenizer=tokenizer, max_length=None,  # type: ignore[arg-type]
    )  # fmt: skip


def test_a_sentence_and_a_pair(tokenizer: Tokenizer) -> None:
    ids, cut = joined(["a b"], tokenizer, 8)
    assert ids.tolist() == [2, 5, 6, 3] and ids.dtype == np.int64 and not cut
    ids, cut = joined(["a b", "c"], tokenizer, 8)
    assert ids.tolist() == [2, 5, 6, 3, 7, 3] and not cut
    assert joined(["", ""], tokenizer, 8)[0].tolist() == [2, 3, 3]


def test_the_longest_text_loses_its_end(tokenizer: Tokenizer) -> None:
    assert joined(["a a a a a a a a"], tokenizer, 5)[0].tolist() == [2, 5, 5, 5, 3]
    ids, cut = joined(["a a a a a a", "b"], tokenizer, 8)
    assert ids.tolist() == [2, 5, 5, 5, 5, 3, 6, 3] and cut
    assert joined(["a a a a", "b b b b"], tokenizer, 8)[0].tolist() == [2, 5, 5, 5, 3, 6, 6, 3]
    assert joined(["a a a", "b b"], tokenizer, 8)[1] is False
    assert shortened([9, 2, 9], 7) == [3, 2, 2]


def test_the_view_of_sentences(tokenizer: Tokenizer) -> None:
    rng = np.random.default_rng(0)
    views = Sentences()(draft(tokenizer, ("a", "b")), rng)
    assert views["text"].tolist() == [2, 5, 3, 6, 3] and views["text_length"] == 5
    with pytest.raises(BadSample, match="no text"):
        Sentences()(draft(tokenizer), rng)


def test_the_view_of_labels() -> None:
    rng = np.random.default_rng(0)
    found = Label()(draft(label=2), rng)["label"]
    assert found == 2 and found.dtype == np.int64
    found = Label(score=True, field="likeness")(draft(likeness=3), rng)["label"]
    assert found == 3 and found.dtype == np.float32
    for wrong in (draft(), draft(label=-1), draft(label=1.5), draft(label="cat")):
        with pytest.raises(BadSample, match="its JSON has no number of a class 'label'"):
            Label()(wrong, rng)


def test_the_view_of_soft_answers() -> None:
    rng = np.random.default_rng(0)
    found = Answers(size=4)(draft(answers=[(1, 0.3), (3, 1.0)]), rng)["answers"]
    np.testing.assert_array_equal(found, np.array([0, 0.3, 0, 1], np.float32))
    assert Answers(size=4)(draft(answers=[]), rng)["answers"].sum() == 0
    with pytest.raises(BadSample, match="no 'answers'"):
        Answers(size=4)(draft(), rng)
