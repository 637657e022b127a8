"""Zero-shot classification: each label has the sentences that were published for its class, in whatever order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.official.pictures import TONES
from tests.official.vision import WRITERS
from tests.unit.eval.encoders import seeing
from vltk.errors import RecipeError, VltkError
from vltk.eval import features, task
from vltk.eval.features import Subject
from vltk.eval.protocols.zero_shot import ZeroShot
from vltk.eval.sources import Library

COUNTED = {number: [f"a photo of {number + 3} objects."] for number in range(8)}  # CLIP's list begins with 10
FACES = [["angry"], ["disgusted"], ["fearful"], ["happy", "smiling"], ["sad", "depressed"]]
FACES += [["surprised", "shocked", "spooked"], ["neutral", "bored"]]
PUBLISHED: dict[str, dict[int, list[str]]] = {  # openai/CLIP, data/prompts.md; by our labels, by what these mean
    "kitti_distance": {
        0: ["a photo i took of a car on my left or right side."],  # up to 8 metres
        1: ["a photo i took with a car nearby."],  # up to 20
        2: ["a photo i took with a car in the distance."],
        3: ["a photo i took with no car."],
    },
    "pcam": {
        0: ["this is a photo of lymph node"],
        1: ["this is a photo of lymph node containing metastatic tumor tissue"],
    },
    "ucf101": {
        number: [
            f"a {made} of {article} person {verb}{name}."
            for verb in ("", "using ", "doing ", "during ", "performing ", "practicing ")
            for article in ("a", "the")
            for made in ("photo", "video", "example", "demonstration")
        ]
        for number, name in enumerate(["apply eye makeup", "hand stand pushups", "yo yo"])  # of the fixture
    },
    "clevr_counts": COUNTED,
    "fer2013": {
        number: [
            sentence.format(name)
            for name in names
            for sentence in (
                "a photo of a {} looking face.",
                "a photo of a face showing the emotion: {}.",
                "a photo of a face looking {}.",
                "a face that looks {}.",
                "they look {}.",
                "look at how {} they are.",
            )
        ]
        for number, names in enumerate(FACES)
    },
    "rendered_sst2": {0: ["a negative review of a movie."], 1: ["a positive review of a movie."]},
}


@pytest.fixture
def subject(tmp_path: Path, trained: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Subject]:
    """On the fixture of a data set: an image encoder that sees the class, and a text encoder that knows which of the
    `vectors` (K, TONES) a sentence has: `rows`."""

    def encodings(model: Any, images: torch.Tensor, names: list[str]) -> dict[str, torch.Tensor]:
        return {name: seeing(images) for name in names}

    def made(name: str, rows: dict[str, int], vectors: torch.Tensor) -> Subject:
        if name == "pcam":
            pytest.importorskip("h5py", reason="PatchCamelyon is read by h5py: pip install 'vltk[eval]'")
        WRITERS[name](tmp_path / name)
        trained.image = type("Image", (), {"size": 32})
        trained.tokenizer.encode = lambda text: (np.array([rows[text]]), np.zeros(1))
        trained.model.texts = torch.nn.Parameter(vectors)
        monkeypatch.setattr(features.inference, "image_encodings", encodings)
        return Subject(trained, library=Library(tmp_path, nonstandard=True))

    return made


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("protocol", ["flava", "clip"])
def test_each_label_has_its_published_sentences(name: str, protocol: str, subject: Callable[..., Subject]) -> None:
    """Every sentence of every class is asked for, none other, and each stands for its label: else some are wrong."""
    rows = {text: label for label, texts in PUBLISHED[name].items() for text in texts}
    choice = task.card(f"{name}-zero-shot", protocol)
    split, _, options = choice.data.partition("?")
    assert split == f"official/{name}/test"
    choice = task.changed(choice, {"data": f"official/{name}/trainval?{options}"})  # more classes in the fixtures
    whole = subject(name, rows, torch.eye(TONES))
    asked: set[str] = set()
    known = whole.trained.tokenizer.encode
    whole.trained.tokenizer.encode = lambda text: (asked.add(text), known(text))[1]
    accuracy, per_class, _ = choice.build()(whole)
    assert asked == set(rows) and len(rows) == sum(map(len, PUBLISHED[name].values()))
    assert (accuracy.value, per_class.value) == (100, 100)
    assert accuracy.detail["classes"] == len(PUBLISHED[name]) and len(set(accuracy.answers["labels"].tolist())) > 1
    assert choice.framing == ("crop" if protocol == "clip" else "squash")


def test_counts_are_not_in_the_order_of_the_alphabet(subject: Callable[..., Subject]) -> None:
    """As if the names were CLIP's list, 10 first, under our numbers: everything is wrong."""
    listed = sorted(text for texts in COUNTED.values() for text in texts)
    assert listed[0] == "a photo of 10 objects."
    wrong = subject("clevr_counts", {text: label for label, text in enumerate(listed)}, torch.eye(TONES))
    assert task.card("clevr_counts-zero-shot").build()(wrong)[0].value == 0


def test_under_clip_counts_are_of_its_five_hundred() -> None:
    data = {name: task.card("clevr_counts-zero-shot", name).build().data_sets for name in ("flava", "clip")}
    assert data == {"flava": ["official/clevr_counts/test"], "clip": ["official/clevr_counts/test?subset=true"]}


def test_a_class_of_several_names_is_the_mean_of_all_their_sentences(subject: Callable[..., Subject]) -> None:
    """The first name of class 1 points where class 0 lies, its two others elsewhere: each weighs a third."""
    rows = {"zero": 0, "first": 0, "second": 1, "third": 1}
    whole = subject("rendered_sst2", rows, torch.eye(TONES))
    names = {"negative": "zero", "positive": ["first", "second", "third"]}
    protocol = ZeroShot(data="official/rendered_sst2/test", label="class", templates=["{}"], names=names)
    accuracy, *_ = protocol(whole)
    labels, margins = accuracy.answers["labels"], accuracy.answers["margins"]
    one, two = 1 / 5**0.5, 2 / 5**0.5  # the mean of (1, 0), (0, 1), (0, 1), normalised
    assert margins[labels == 0] == pytest.approx(1000 * (1 - one)) and margins[labels == 1] == pytest.approx(1000 * two)


def test_wrong_names_are_refused(subject: Callable[..., Subject]) -> None:
    whole = subject("rendered_sst2", {}, torch.eye(TONES))
    protocol = ZeroShot(data="official/rendered_sst2/test", label="class", names={"positiv": "good"})
    with pytest.raises(
        VltkError, match="official/rendered_sst2/test: names: no class 'positiv'; did you mean 'positive'"
    ):
        protocol(whole)
    with pytest.raises(RecipeError, match="names"):
        task.changed(task.card("rendered_sst2-zero-shot"), {"names": {"positive": []}})


def test_every_vision_task_has_a_zero_shot_card_in_its_suite() -> None:
    cards = {f"{name}-zero-shot" for names in task.suite("vision").tasks.values() for name in names}
    assert len(cards) == 22 and cards <= set(task.names())
    assert cards == set(task.suite("zero-shot").tasks["zero-shot classification"])
