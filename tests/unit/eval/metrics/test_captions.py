"""CIDEr, BLEU and ROUGE-L against values worked out by hand, and against pycocoevalcap where it is installed."""

from __future__ import annotations

import math
import shutil

import numpy as np
import pytest

from vltk.data.sources import shapes
from vltk.errors import VltkError
from vltk.eval.metrics import captions as metrics
from vltk.eval.metrics import java


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("A man's dog isn't here.", "a man 's dog is n't here"),
        ("Two T-shirts, (red) - $3.50!", "two t-shirts red $ 3.50"),
        ('He said "no"; can’t go...', "he said no ca n't go"),
        ("", ""),
    ],
)
def test_words(text: str, wanted: str) -> None:
    assert " ".join(metrics.words(text)) == wanted


def test_a_caption_that_is_its_reference() -> None:
    texts = [["a", "red", "ball", "here"], ["two", "dogs", "run", "fast"], ["one", "cat", "sits", "still"]]
    wanted = [[one] for one in texts]
    assert metrics.cider(texts, wanted).tolist() == pytest.approx([1000] * 3)
    assert metrics.bleu(texts, wanted).tolist() == pytest.approx([100] * 4, abs=1e-5)
    assert metrics.rouge(texts, wanted).tolist() == pytest.approx([100] * 3)


def test_cider_by_hand() -> None:
    """Words alone: the second image shares `a` with the first, which is in both documents and weighs nothing."""
    captions, references = [["a", "ball"], ["b"]], [[["a", "ball"], ["a", "cat"]], [["a", "b"]]]
    # image 1: unigrams 1 and 0, bigrams 1 and 0, none longer; over 4 sizes and 2 references
    # image 2: one word like it, a bigram less: exp(-1 / 72)
    wanted = [1000 * 2 / 4 / 2, 1000 * math.exp(-1 / 72) / 4]
    assert metrics.cider(captions, references).tolist() == pytest.approx(wanted)


def test_cider_of_a_single_image_is_nothing() -> None:
    assert metrics.cider([["a", "ball"]], [[["a", "ball"]]]).tolist() == [0]


def test_bleu_by_hand() -> None:
    """3 of 4 words, 1 of 3 pairs; the closest reference has 5 words: a brevity penalty of exp(-1/4)."""
    found = metrics.bleu([["a", "b", "x", "d"]], [[["a", "b", "c", "d", "e"], ["d"] * 9]])
    brevity = math.exp(-1 / 4)
    assert found[0] == pytest.approx(100 * brevity * 3 / 4, rel=1e-6)
    assert found[1] == pytest.approx(100 * brevity * math.sqrt(3 / 4 / 3), rel=1e-6)
    assert found[3] < 0.01


def test_rouge_by_hand() -> None:
    """The best precision and the best recall may be of different references."""
    found = metrics.rouge([["a", "b", "c"]], [[["a", "x", "c", "y"], ["b"]]])
    precision, recall = 2 / 3, 1.0
    assert found[0] == pytest.approx(100 * 2.44 * precision * recall / (recall + 1.44 * precision))
    assert metrics.rouge([[]], [[["a"]]]).tolist() == [0]


def test_what_is_not_aligned() -> None:
    with pytest.raises(VltkError, match="captions and references of the same images are needed; got 1, 2"):
        metrics.cider([["a"]], [[["a"]], [["b"]]])
    with pytest.raises(VltkError, match="image number 0 has no reference"):
        metrics.bleu([["a"]], [[]])


def corpus(count: int = 60) -> tuple[list[str], list[list[str]]]:
    """Captions of scenes, each against those of its own or of the next scene."""
    every = [record.texts for record in shapes.records(0, "dev", count + 1)]
    return [every[n + n % 2][0] for n in range(count)], [own[1:] for own in every[:count]]


def test_against_pycocoevalcap() -> None:
    pytest.importorskip("pycocoevalcap")
    from pycocoevalcap.bleu.bleu_scorer import BleuScorer
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    texts, references = corpus()
    told = [metrics.words(text) for text in texts]
    wanted = [[metrics.words(text) for text in own] for own in references]
    given = {n: [" ".join(one)] for n, one in enumerate(told)}
    truth = {n: [" ".join(one) for one in own] for n, own in enumerate(wanted)}
    assert metrics.cider(told, wanted) == pytest.approx(100 * np.array(Cider().compute_score(truth, given)[1]))
    assert metrics.rouge(told, wanted) == pytest.approx(100 * np.array(Rouge().compute_score(truth, given)[1]))
    scorer = BleuScorer(n=4)
    for n in given:
        scorer += (given[n][0], truth[n])
    theirs = scorer.compute_score(option="closest", verbose=0)[0]
    assert metrics.bleu(told, wanted).tolist() == pytest.approx((100 * np.array(theirs)).tolist())


@pytest.mark.slow
def test_java() -> None:
    pytest.importorskip("pycocoevalcap")
    if shutil.which("java") is None:
        pytest.skip("needs Java")
    texts, references = corpus(12)
    told = java.tokens(texts)
    wanted = [java.tokens(own) for own in references]
    assert told == [metrics.words(text) for text in texts]
    score, each = java.meteor(told, wanted)
    assert 0 < score < 100 and each.shape == (12,) and each[0] > each[1]  # its own scene, and another one


def test_what_java_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(java, "find_spec", lambda name: None)
    monkeypatch.setattr(java.shutil, "which", lambda name: None)
    assert [command for _, command in java.absent()] == [
        "pip install 'vltk[caption]'",
        "apt-get install default-jre-headless",
    ]
