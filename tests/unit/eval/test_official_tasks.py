"""Tasks on official fixtures: an encoder that sees the class scores 100, one that sees nothing what guessing does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from tests.official.captioned import make_coco, make_flickr30k
from tests.official.pictures import TONES
from tests.official.vision import WRITERS
from tests.unit.eval.encoders import blind, seeing
from vltk.errors import Missing, RecipeError, VltkError
from vltk.eval import features, task
from vltk.eval.answers import interval
from vltk.eval.features import Subject
from vltk.eval.sources import Library

VISION = list(WRITERS)


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder that holds a data set, written once."""
    root = tmp_path_factory.mktemp("official")

    def written(name: str) -> Path:
        if name == "pcam":
            pytest.importorskip("h5py", reason="PatchCamelyon is read by h5py: pip install 'vltk[eval]'")
        if not (root / name).exists():
            {**WRITERS, "flickr30k": make_flickr30k, "coco": make_coco}[name](root / name)
        return root

    return written


def encode_by(monkeypatch: pytest.MonkeyPatch, encoder: Callable[[Tensor], Tensor]) -> None:
    def encodings(model: Any, images: Tensor, names: list[str]) -> dict[str, Tensor]:
        return {name: encoder(images) for name in names}

    monkeypatch.setattr(features.inference, "image_encodings", encodings)


def subject(trained: Any, root: Path) -> Subject:
    trained.image = type("Image", (), {"size": 32})
    return Subject(trained, library=Library(root, nonstandard=True))


@pytest.mark.parametrize(
    ("name", "protocol"), [*((name, "flava") for name in VISION), ("clevr_counts", "clip"), ("dtd", "clip")]
)
def test_a_probe_of_what_shows_the_class(
    name: str, protocol: str, official: Callable[[str], Path], trained: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All are right but those whose class, or tone, training does not have alone: the fixtures are tiny."""
    encode_by(monkeypatch, seeing)
    whole = subject(trained, official(name))
    choice = task.card(name, protocol)
    accuracy, _ = choice.build()(whole)
    wanted = np.array(whole.samples(choice.test).labels("class"))
    seen = {label for data in (choice.train, choice.validation) for label in whole.samples(data).labels("class")}
    tones = [label % TONES for label in seen]
    found = [label in seen and tones.count(label % TONES) == 1 for label in wanted.tolist()]
    assert (accuracy.answers["predicted"] == wanted)[found].all() and np.mean(found) > 0.3
    assert accuracy.n == len(wanted) == len(accuracy.answers["predicted"])


def test_under_clip_stl10_is_the_mean_of_its_ten_folds(
    official: Callable[[str], Path], trained: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fold 0 of the fixture lacks class 9, which half of the test images are of; all else is seen."""
    encode_by(monkeypatch, seeing)
    whole = subject(trained, official("stl10"))
    protocol = task.card("stl10", "clip").build()
    assert len(protocol.data_sets) == 21 and protocol.data_sets[1] == "official/stl10/test"
    accuracy, per_class = protocol(whole)
    assert (accuracy.n, accuracy.value) == (4, pytest.approx(95))
    assert per_class.value == pytest.approx((100 * 2 / 3 + 9 * 100) / 10)
    folds = accuracy.detail["folds"]
    assert [fold["accuracy"] for fold in folds] == [50] + [100] * 9 and folds[0]["classes"] == 2
    assert [fold["train_n"] + fold["validation_n"] for fold in folds] == [4] * 10
    assert accuracy.detail["deviation"] == pytest.approx(50 / 10**0.5)
    answers = accuracy.answers
    assert answers["values"] == pytest.approx([90, 100, 100, 90]) and "predicted" not in answers.columns
    found = interval(accuracy.metric, accuracy.value, accuracy.n, answers)
    assert found is not None and found.low < 95 < found.high
    single, _ = task.card("stl10").build()(subject(trained, official("stl10")))
    assert single.value == 100 and "folds" not in single.detail


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"folds": 10}, r"folds: 10 given, but \{fold\}.* is not in train: official/stl10/train"),
        ({"train": "official/stl10/train?fold={fold}"}, r"train\?fold=\{fold\}: \{fold\} stands for .* folds: 10"),
    ],
)
def test_folds_need_a_place_and_a_number(options: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        task.changed(task.card("stl10"), options).build()


@pytest.mark.parametrize("name", VISION)
def test_a_probe_of_constant_features_is_chance(
    name: str, official: Callable[[str], Path], trained: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode_by(monkeypatch, blind)
    accuracy, per_class = task.card(name).build()(subject(trained, official(name)))
    predicted = accuracy.answers["predicted"]
    assert len(set(predicted.tolist())) == 1
    assert per_class.value in (0, pytest.approx(100 / len(set(accuracy.answers["labels"].tolist()))))


@pytest.mark.parametrize("name", ["flickr30k", "coco"])
def test_retrieval_of_official_photos(
    name: str, official: Callable[[str], Path], trained: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fake model finds a photo by the red of its last corner; the texts are given its row."""
    encode_by(monkeypatch, lambda images: trained.model.images[images[:, 0, -1, -1].long()])
    whole = subject(trained, official(name))
    samples = whole.samples(f"official/{name}/test")
    texts, owner, _ = samples.texts(None)
    assert len(texts) == (10 if name == "flickr30k" else 11)
    reds = np.concatenate([images[:, 0, -1, -1].numpy() for _, images in samples.images(8)])
    rows = {text: reds[image] for text, image in zip(texts, owner, strict=True)}
    trained.tokenizer.encode = lambda text: (np.array([rows[text]]), np.zeros(1))
    found = {score.metric: score.value for score in task.card(name).build()(whole)}
    assert {found[f"{way} R@1"] for way in ("image_to_text", "text_to_image")} == {100}
    trained.model.images[:] = trained.model.texts[:] = trained.model.images[0].clone()
    found = {score.metric: score.value for score in task.card(name).build()(subject(trained, official(name)))}
    assert found["image_to_text R@1"] == found["text_to_image R@1"] == 0  # ties count against the model


def test_zero_shot_by_the_names_of_classes(
    official: Callable[[str], Path], trained: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The text encoder knows each name; each sentence is of its own length."""
    whole = subject(trained, official("cifar10"))
    encode_by(monkeypatch, seeing)
    names = whole.samples("official/cifar10/test").source.classes
    trained.tokenizer.encode = lambda text: (np.array([next(i for i, n in enumerate(names) if n in text)]), np.zeros(1))
    trained.model.texts = type(trained.model.texts)(np_eye())
    accuracy, per_class, top = task.card("cifar10-zero-shot").build()(whole)
    assert (accuracy.value, per_class.value, top.value, accuracy.chance) == (100, 100, 100, 10)
    encode_by(monkeypatch, blind)
    accuracy, _, top = task.card("cifar10-zero-shot").build()(subject(trained, official("cifar10")))
    assert accuracy.value == top.value == 0  # every class is a tie


def np_eye() -> Any:
    import torch

    return torch.eye(25)


def test_wrong_data_is_said(official: Callable[[str], Path], trained: Any, tmp_path: Path) -> None:
    root = official("cifar10")
    with pytest.raises(VltkError, match="10,000 officially|50,000 officially"):
        Subject(trained, library=Library(root)).samples("official/cifar10/test")
    library = Library(root, nonstandard=True)
    with pytest.raises(RecipeError, match="no official data set 'cifra10'; did you mean 'cifar10'"):
        library.open("official/cifra10/test")
    with pytest.raises(RecipeError, match=r"official/cifar10/tset: no split 'tset'; did you mean 'test'"):
        library.open("official/cifar10/tset")
    with pytest.raises(RecipeError, match="fold"):
        library.open("official/cifar10/test?fold=3")
    with pytest.raises(Missing) as caught:
        Library(tmp_path / "empty").open("official/mnist/test")
    assert f"vltk eval --fetch mnist --data {tmp_path / 'empty'}" in caught.value.steps[0][1]
    (tmp_path / "mnist").symlink_to(root / "cifar10")
    with pytest.raises(Missing):
        Library(tmp_path).open("official/mnist/test")


def test_options_of_a_loader_stand_behind_the_split(official: Callable[[str], Path]) -> None:
    library = Library(official("stl10"), nonstandard=True)
    assert len(library.open("official/stl10/trainval?fold=0")) < len(library.open("official/stl10/trainval"))


def test_what_is_not_the_official_count_is_known(official: Callable[[str], Path]) -> None:
    facts = Library(official("cifar10"), nonstandard=True).open("official/cifar10/train").fingerprint
    assert facts["official"] is False and facts["rule"].startswith("a fifth of each class")
    assert len(facts["keys_sha256"]) == len(facts["files"]) == 64


def test_a_limit_keeps_the_shares_of_classes() -> None:
    strata = np.array([0] * 600 + [1] * 300 + [2] * 100)
    drawn = features.drawn(1000, 100, 3, strata)
    assert np.bincount(strata[drawn]).tolist() == [60, 30, 10] and len(set(drawn.tolist())) == 100
    assert (drawn == features.drawn(1000, 100, 3, strata)).all()
    assert not np.array_equal(drawn, features.drawn(1000, 100, 4, strata))
