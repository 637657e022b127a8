"""Encoding: chosen samples, order, once for all tasks, and what stops it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vltk.data.shard import Record, write_dataset
from vltk.errors import VltkError
from vltk.eval.features import Subject
from vltk.parts import choose


def test_encodings_lie_in_the_order_of_the_data_set(write_pairs: Callable[..., None], trained: Any) -> None:
    texts = [[f"{index}" + " a" * (index * 7 % 5)] for index in range(20)]
    write_pairs("pairs/dev", texts)
    samples = Subject(trained).samples("pairs/dev")
    embeddings, owner = samples.text_embeddings(5, batch_size=3)
    np.testing.assert_array_equal(embeddings, trained.model.texts[:20].numpy())
    np.testing.assert_array_equal(samples.image_embeddings(batch_size=3), trained.model.images[:20].numpy())
    assert owner.tolist() == list(range(20)) and samples.split == "dev"


def test_at_most_so_many_captions(write_pairs: Callable[..., None], trained: Any) -> None:
    write_pairs("pairs/dev", [["0", "0 a", "0 b"], ["1"]])
    assert Subject(trained).samples("pairs/dev").text_embeddings(2, 8)[1].tolist() == [0, 0, 1]


def test_a_limit_draws_by_the_seed(write_pairs: Callable[..., None], trained: Any) -> None:
    write_pairs("pairs/dev", [[f"{index}"] for index in range(30)])
    drawn = [Subject(trained, seed).samples("pairs/dev", 10).positions.tolist() for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] == sorted(set(drawn[0])) and drawn[0] != drawn[2]
    assert len(drawn[0]) == 10 and drawn[0] != list(range(10))
    assert len(Subject(trained).samples("pairs/dev", 99)) == 30


def test_images_are_encoded_once_for_all_tasks(write_pairs: Callable[..., None], trained: Any) -> None:
    write_pairs("pairs/dev", [["1"], ["2"], ["3"]])
    subject = Subject(trained)
    for _ in range(2):
        subject.samples("pairs/dev").image_features(2)
    assert trained.model.encoded["features"] == 3


def test_random_weights_are_of_the_seed_and_leave_the_generator_alone(
    write_pairs: Callable[..., None], trained: Any
) -> None:
    write_pairs("pairs/dev", [["1"], ["2"], ["3"]])
    before = torch.get_rng_state()
    first, second, other = (
        Subject(trained, seed).samples("pairs/dev").image_features(2, random_weights=True) for seed in (5, 5, 6)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert (first == second).all() and not (first == other).all()
    assert not (first == trained.model.images[:3].numpy()).all()


def test_an_encoding_that_is_not_finite_names_the_sample(write_pairs: Callable[..., None], trained: Any) -> None:
    write_pairs("pairs/dev", [["0"], ["1"], ["2"]])
    trained.model.images[2] = float("nan")
    trained.model.texts[1] = float("inf")
    samples = Subject(trained).samples("pairs/dev")
    with pytest.raises(
        VltkError, match=r"pairs/dev: the encoding of sample 's002' is not finite.*fake/joint at step 7"
    ):
        samples.image_features(2)
    with pytest.raises(VltkError, match="'s001'"):
        samples.text_embeddings(5, 2)


def test_what_a_sample_lacks_is_said(data_root: Path, picture: Callable[[int], bytes], trained: Any) -> None:
    records = [Record("good", picture(1), ["1"], {"count": 2, "where": [1]}), Record("textless", picture(2), [], {})]
    write_dataset(data_root / "odd", records, {})
    write_dataset(data_root / "words", [Record("words0", None, ["1"], {})], {})
    subject = Subject(trained)
    with pytest.raises(VltkError, match="odd: sample 'textless' has no text"):
        subject.samples("odd").text_embeddings(5, 2)
    with pytest.raises(VltkError, match="odd: sample 'textless' has no label 'count'; its fields: none"):
        subject.samples("odd").labels("count")
    with pytest.raises(VltkError, match="'good' has no label 'where'; its fields: count, where"):
        subject.samples("odd").labels("where")
    with pytest.raises(VltkError, match="words: sample 'words0' has no image"):
        subject.samples("words").image_features(2)
    trained.tokenizer = None
    with pytest.raises(VltkError, match="fake/joint has no tokenizer"):
        subject.samples("words").text_embeddings(5, 2)


def test_an_encoder_that_was_never_trained_is_named(write_pairs: Callable[..., None], trained: Any) -> None:
    write_pairs("pairs/dev", [["0"], ["1"]])
    trained.model.text = None
    samples = Subject(trained).samples("pairs/dev")
    assert samples.image_features(2).shape == (2, 16)
    for encode in (lambda: samples.image_embeddings(2), lambda: samples.text_embeddings(5, 2)):
        with pytest.raises(VltkError, match="fake/joint has no text encoder"):
            encode()


def test_an_undecodable_image_names_the_sample(data_root: Path, picture: Callable[[int], bytes], trained: Any) -> None:
    broken = picture(3)[:40]
    write_dataset(data_root / "odd", [Record("good", picture(1), ["1"], {}), Record("torn", broken, ["2"], {})], {})
    with pytest.raises(VltkError, match="odd: the image of sample 'torn' cannot be decoded"):
        Subject(trained).samples("odd").image_embeddings(8)


def test_a_codebook_is_refused_by_name(write_pairs: Callable[..., None], trained: Any) -> None:
    write_pairs("pairs/dev", [["0"], ["1"]])
    codebook = choose("models/codebooks", "dvae", width=8, blocks=1, groups=3, codes=16, code_width=8)
    trained.model = codebook.build().eval()
    samples = Subject(trained).samples("pairs/dev")
    for encode in (samples.image_features, samples.image_embeddings):
        with pytest.raises(VltkError, match="fake/joint is a codebook.*vltk eval fake"):
            encode(2)
