"""Encodings on disk: made once, in one pass, gone on with by shard, and never mixed up."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vltk.errors import VltkError
from vltk.eval import store
from vltk.eval.content import weights_digest
from vltk.eval.features import Subject
from vltk.eval.store import FeatureStore

KEYS = [f"s{number}" for number in range(10)]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FeatureStore:
    monkeypatch.setattr(store, "SHARD", 4)
    return FeatureStore(tmp_path / "features")


class Maker:
    """Row i of the feature `cls` is (i, i), of `other` (-i, -i); asked for row `fails_at`, it fails."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.fails_at, self.calls = fails_at, list[tuple[int, int, list[str]]]()

    def __call__(self, first: int, last: int, names: Any) -> dict[str, Any]:
        self.calls.append((first, last, list(names)))
        if self.fails_at is not None and first <= self.fails_at < last:
            raise VltkError("sample s9 is torn")
        rows = np.repeat(np.arange(first, last, dtype=np.float32)[:, None], 2, 1)
        return {name: rows if name == "cls" else -rows for name in names}


def test_a_stopped_pass_goes_on_behind_its_last_shard(small: FeatureStore) -> None:
    with pytest.raises(VltkError, match="s9"):
        small.get({"data": "a"}, "cls", KEYS, Maker(fails_at=9))
    again = Maker()
    rows = small.get({"data": "a"}, "cls", KEYS, again)
    assert again.calls == [(8, 10, ["cls"])] and rows[:, 0].tolist() == list(range(10))
    third = Maker()
    assert (small.get({"data": "a"}, "cls", KEYS, third) == rows).all() and not third.calls
    (entry,) = small.root.iterdir()
    assert (entry / "keys.txt").read_text().split() == KEYS and (entry / "DONE").exists()
    assert json.loads((entry / "index.json").read_text()) == {"data": "a", "feature": "cls", "rows": 10, "shard": 4}


def test_all_that_tasks_want_is_made_in_one_pass(small: FeatureStore) -> None:
    maker = Maker()
    small.get({"data": "a"}, "cls", KEYS, maker, also=["other", "cls"])
    assert [names for *_, names in maker.calls] == [["cls", "other"]] * 3
    assert small.get({"data": "a"}, "other", KEYS, maker)[9].tolist() == [-9, -9] and len(maker.calls) == 3


def test_what_is_of_other_content_is_made_again(small: FeatureStore) -> None:
    maker = Maker()
    for facts in ({"data": "a"}, {"data": "a", "framing": "crop"}, {"data": "b"}):
        small.get(facts, "cls", KEYS, maker)
    assert len(maker.calls) == 9 and len(list(small.root.iterdir())) == 3


def test_a_half_written_shard_is_none(small: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(store.np, "save", full)
        with pytest.raises(OSError, match="No space"):
            small.get({}, "cls", KEYS, Maker())
    assert not [path for path in small.root.rglob("*") if path.is_file()]
    assert len(small.get({}, "cls", KEYS, Maker())) == 10


def test_a_subject_encodes_once_for_all_its_lives(
    write_pairs: Callable[..., None], trained: Any, small: FeatureStore
) -> None:
    write_pairs("pairs/dev", [[f"{index}"] for index in range(10)])
    made = Subject(trained, store=small, features={"pairs/dev": ["cls", "embedding"]})
    found = made.samples("pairs/dev").image_features(3)
    np.testing.assert_array_equal(found, trained.model.images[:10].numpy())
    assert trained.model.encoded == {"features": 10, "embeddings": 10, "texts": 0}
    for subject in (Subject(trained, store=small), made):
        subject.forget()
        samples = subject.samples("pairs/dev")
        np.testing.assert_array_equal(samples.image_embeddings(4), found)
        texts, _ = samples.text_embeddings(1, 4)
        np.testing.assert_array_equal(texts, trained.model.texts[:10].numpy())
    assert trained.model.encoded == {"features": 10, "embeddings": 10, "texts": 10}
    trained.model.images[3] += 1
    Subject(trained, store=small).samples("pairs/dev").image_features(3)
    assert trained.model.encoded["features"] == 20  # other weights


def test_a_shard_that_is_not_finite_is_refused_by_its_sample(
    write_pairs: Callable[..., None], trained: Any, small: FeatureStore
) -> None:
    write_pairs("pairs/dev", [[f"{index}"] for index in range(10)])
    trained.model.images[6] = float("nan")
    with pytest.raises(VltkError, match="the encoding of sample 's006' is not finite"):
        Subject(trained, store=small).samples("pairs/dev").image_features(3)
    assert len(list(small.root.rglob("*.npy"))) == 1


def test_a_limited_draw_is_kept_apart(write_pairs: Callable[..., None], trained: Any, small: FeatureStore) -> None:
    write_pairs("pairs/dev", [[f"{index}"] for index in range(10)])
    whole, part = (Subject(trained, store=small).samples("pairs/dev", limit) for limit in (None, 5))
    assert len(whole.image_features(3)) == 10
    np.testing.assert_array_equal(part.image_features(3), whole.image_features(3)[part.positions])


def test_the_digest_of_weights_sees_every_byte(trained: Any) -> None:
    before = weights_digest(trained.model)
    assert weights_digest(trained.model) == before
    trained.model.texts[0, 0] += 1e-6
    assert weights_digest(trained.model) != before
