"""A fake trained model whose right answers are known, and tiny data sets on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vltk.data.shard import Record, write_dataset
from vltk.eval import features

SIZE, WIDTH = 8, 16


class FakeModel(nn.Module):
    """Knows an image by its red value and a text by its first id: row `index` of two tables."""

    def __init__(self, images: Tensor | None = None, texts: Tensor | None = None) -> None:
        super().__init__()
        same = nn.functional.normalize(torch.randn(256, WIDTH), dim=1)
        self.images = nn.Parameter(same if images is None else images)
        self.texts = nn.Parameter(same.clone() if texts is None else texts)
        self.dropout = nn.Dropout(0.5)
        self.encoded = {"features": 0, "embeddings": 0, "texts": 0}

    def encode_images(self) -> None: ...

    def embed_image(self) -> None: ...

    def embed_text(self) -> None: ...


class FakeTokenizer:
    """`7 a b` -> ids 7, 1, 1 with as many ones as further words."""

    pad = 0

    def encode(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        first, *rest = text.split()
        return np.array([int(first), *(1 for _ in rest)]), np.arange(1 + len(rest))


@dataclass
class Made:
    """The choice of a model."""

    def build(self) -> nn.Module:
        return FakeModel()

    def model_dump(self, mode: str) -> dict[str, str]:
        return {"part": "fake"}


@dataclass
class FakeTrained:
    model: nn.Module = field(default_factory=FakeModel)
    tokenizer: Any = field(default_factory=FakeTokenizer)
    name: str = "fake/joint"
    step: int = 7
    image: Any = field(default_factory=lambda: type("Image", (), {"size": SIZE}))
    stage: Any = field(default_factory=lambda: type("Stage", (), {"model": Made()}))
    fresh: bool = False
    untrained: frozenset[str] = frozenset()


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> FakeTrained:
    """Reads images and texts through the fake model's tables; fails where the model is not in evaluation mode."""

    def table(name: str, count: str) -> Callable[..., Tensor]:
        def encode(model: FakeModel, inputs: Tensor, *_: Tensor) -> Tensor:
            assert not model.training and not torch.is_grad_enabled()
            model.encoded[count] += len(inputs)
            index = inputs[:, 0] if inputs.ndim == 2 else inputs[:, 0, 0, 0]
            rows: Tensor = getattr(model, name)[index.long()]
            return model.dropout(rows)

        return encode

    kinds = {"cls": table("images", "features"), "embedding": table("images", "embeddings")}

    def encodings(model: FakeModel, images: Tensor, names: list[str]) -> dict[str, Tensor]:
        return {name: kinds[name](model, images) for name in names}

    monkeypatch.setattr(features.inference, "image_encodings", encodings)
    monkeypatch.setattr(features.inference, "text_embeddings", table("texts", "texts"))
    torch.manual_seed(0)
    fake = FakeTrained()
    fake.model.eval()
    return fake


@pytest.fixture(autouse=True)
def no_gradients() -> Iterable[None]:
    """As `vltk.eval.run.undisturbed` leaves it; the tests of that function bring their own."""
    with torch.no_grad():
        yield


@pytest.fixture
def data_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VLTK_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def picture() -> Callable[[int], bytes]:
    """A PNG of one colour, by its red value."""

    def draw(red: int) -> bytes:
        pixels = np.full((SIZE, SIZE, 3), (0, 0, red), np.uint8)  # OpenCV's order: blue, green, red
        return bytes(cv2.imencode(".png", pixels)[1])

    return draw


@pytest.fixture
def write_pairs(data_root: Path, picture: Callable[[int], bytes]) -> Callable[..., None]:
    """Writes a data set: sample i has red value i, the texts texts[i], the labels metas[i], and the key `s00i`."""

    def write(name: str, texts: list[list[str]], metas: list[dict[str, Any]] | None = None) -> None:
        metas = metas or [{} for _ in texts]
        records = [
            Record(f"s{index:03}", picture(index), captions, meta)
            for index, (captions, meta) in enumerate(zip(texts, metas, strict=True))
        ]
        write_dataset(data_root / name, records, {"kind": "test"})

    return write
