"""The caption protocol with a captioner whose texts are known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tests.captioner import ToyCaptioner
from tests.unit.capfilt.jobs import PROMPT, WORDS, Words
from vltk import run
from vltk.data.sources.shapes import records
from vltk.errors import VltkError
from vltk.eval import answers, task
from vltk.eval.features import Subject
from vltk.eval.metrics import java
from vltk.eval.metrics import scenes as scene_metrics
from vltk.eval.protocols.caption import Caption
from vltk.eval.results import Score
from vltk.eval.run import absent_data


class Made:
    def model_dump(self, mode: str) -> dict[str, str]:
        return {"part": "toy"}


@pytest.fixture
def subject() -> Subject:
    torch.manual_seed(1)
    toy = ToyCaptioner(len(WORDS), prompt=PROMPT).eval()
    given: Any = SimpleNamespace(model=toy, tokenizer=Words(), name="toy/captioner", step=3)
    given.image, given.stage = SimpleNamespace(size=8), SimpleNamespace(model=Made())
    given.tokenizer.max_length = 40
    return Subject(given)


def by_metric(scores: list[Score]) -> dict[str, Score]:
    return {score.metric: score for score in scores}


def test_references_that_are_what_it_writes(write_pairs: Callable[..., None], subject: Subject) -> None:
    write_pairs("pairs/dev", [["x"]] * 12)
    first = by_metric(Caption(data="pairs/dev", batch_size=5)(subject))
    texts = first["CIDEr"].answers["texts"].tolist()  # type: ignore[index]
    assert first["CIDEr"].value == 0 and first["CIDEr"].detail == {"tokens": "words"}
    write_pairs("pairs/test", [["bo", text] for text in texts])
    again = by_metric(Caption(data="pairs/test")(subject))
    assert again["BLEU-4"].value == pytest.approx(100, abs=1e-3) and again["ROUGE-L"].value == pytest.approx(100)
    assert again["CIDEr"].value > 100 and again["CIDEr"].n == 12
    assert again["unique captions"].value == pytest.approx(100 * len(set(texts)) / 12)
    assert again["words a caption"].value == np.mean([len(text.split()) for text in texts])
    assert [*again, *scene_metrics.METRICS] == Caption(data="pairs/test").metrics
    one = by_metric(Caption(data="pairs/test", captions=1)(subject))
    assert one["BLEU-1"].value < 50


def test_the_batch_changes_nothing(write_pairs: Callable[..., None], subject: Subject) -> None:
    write_pairs("pairs/dev", [["x"]] * 12)
    for method in ("beam", "nucleus"):
        found = [Caption(data="pairs/dev", batch_size=size, method=method)(subject)[0] for size in (1, 12)]
        assert found[0].answers["texts"].tolist() == found[1].answers["texts"].tolist()  # type: ignore[index]


def test_intervals(write_pairs: Callable[..., None], subject: Subject) -> None:
    write_pairs("pairs/dev", [["ba be bi bo bu"], ["da de di"]] * 10)
    for score in Caption(data="pairs/dev")(subject):
        found = answers.interval(score.metric, score.value, score.n, score.answers)
        if score.metric in ("CIDEr", "ROUGE-L", "words a caption"):
            assert found is not None and found.low <= score.value <= found.high
        else:
            assert found is None


def test_clip_score_of_towers(
    write_pairs: Callable[..., None], subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By hand: 2.5 times the cosine, and its harmonic mean with the best cosine to a reference."""
    write_pairs("pairs/dev", [["ba be bi", "bo"], ["da de", "ga"], ["fu fo"]])
    monkeypatch.setattr(run, "load", lambda spec: subject.trained)
    protocol = Caption(data="pairs/dev", towers="any")
    found = by_metric(protocol(subject))
    texts = found["CIDEr"].answers["texts"].tolist()  # type: ignore[index]
    samples = subject.samples("pairs/dev")
    images = samples.image_embeddings(4)
    said, refs = (
        samples.embedded([f"A photo depicts {one}" for one in ones], samples.keys, 4)
        for ones in (texts, ["ba be bi", "da de", "fu fo"])
    )
    wanted = 250 * np.maximum((images * said).sum(1), 0)
    assert found["CLIPScore"].answers["values"] == pytest.approx(wanted, abs=1e-4)  # type: ignore[index]
    third = 100 * max(float(said[2] @ refs[2]), 0.0)
    harmonic = 2 * wanted[2] * third / max(wanted[2] + third, 1e-12)
    assert found["RefCLIPScore"].answers["values"][2] == pytest.approx(harmonic, abs=1e-3)  # type: ignore[index]


def test_the_nearest_caption(write_pairs: Callable[..., None], subject: Subject) -> None:
    texts = [[f"{WORDS[5 + n]} {WORDS[6 + n]} {WORDS[7 + n]} {WORDS[8 + n]} {WORDS[9 + n]}"] for n in range(12)]
    write_pairs("pairs/dev", texts)
    write_pairs("pairs/train", texts)
    found = by_metric(Caption(data="pairs/dev", nearest="pairs/train")(subject))
    assert found["CIDEr of the nearest caption"].value == pytest.approx(1000)  # each image finds itself


def test_what_is_missing(write_pairs: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pairs("pairs/dev", [["x"]])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(java, "find_spec", lambda name: None)
    choice = task.read(["caption:pairs/dev:java=true:towers=towers:nearest=pairs/train"])
    commands = [command for _, command in absent_data(choice)]
    assert "pip install 'vltk[caption]'" in commands and "vltk train RECIPE" in commands and len(commands) >= 3


def test_a_run_that_does_not_write(write_pairs: Callable[..., None], trained: Any) -> None:
    write_pairs("pairs/dev", [["1"]])
    with pytest.raises(VltkError, match="the run fake/joint does not write texts"):
        Caption(data="pairs/dev")(Subject(trained))


def test_the_cards() -> None:
    cards = {name: task.card(name) for name in ("coco_caption", "flickr8k_caption")}
    assert cards["coco_caption"].java and cards["coco_caption"].max_length == 20  # type: ignore[attr-defined]
    assert cards["flickr8k_caption"].nearest == "flickr8k/train"  # type: ignore[attr-defined]


def test_captions_of_drawn_scenes(
    write_pairs: Callable[..., None], subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six true captions; then the second is the first one's, and the fourth no caption of a scene at all."""
    scenes = list(records(0, "test", 6))
    write_pairs("pairs/test", [scene.texts for scene in scenes], [scene.meta for scene in scenes])
    texts = [scene.texts[0] for scene in scenes]

    def said(texts: list[str]) -> dict[str, Score]:
        monkeypatch.setattr(Caption, "_written", lambda self, subject, samples: texts)
        return by_metric(Caption(data="pairs/test")(subject))

    true = said(texts)
    assert {true[name].value for name in true if name in scene_metrics.METRICS} == {100.0}
    assert true["right about shape"].n == 6 and true["right about shape"].answers is None
    found = said([texts[0], texts[0], texts[2], "a dog on the sofa", *texts[4:]])
    assert found["exactly right"].answers["values"].tolist() == [100, 0, 100, 0, 100, 100]  # type: ignore[index]
    assert found["in the grammar"].value == pytest.approx(500 / 6) and found["right about shape"].n == 5
    exact = found["exactly right"]
    span = answers.interval(exact.metric, exact.value, exact.n, exact.answers)
    assert span is not None and span.method == "wilson" and span.low < exact.value < span.high
    again = answers.compare(exact.metric, true["exactly right"].answers, exact.answers, exact.value - 100)  # type: ignore
    assert again is not None and again.interval.high <= 0


def test_data_without_scenes_has_no_such_metric(write_pairs: Callable[..., None], subject: Subject) -> None:
    write_pairs("pairs/dev", [["x"], ["y"]])
    assert not {*scene_metrics.METRICS} & by_metric(Caption(data="pairs/dev")(subject)).keys()
