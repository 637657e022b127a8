"""The tokenizer's protocol on codebooks whose figures are known, and its baseline against its definition."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests import tiny
from vltk.data.shard import Record, write_dataset
from vltk.errors import VltkError
from vltk.eval import task
from vltk.eval.features import Subject
from vltk.eval.metrics.pixels import psnr
from vltk.eval.patches import PatchCodes, cut, joined
from vltk.eval.protocols.tokenizer import VisualTokenizer
from vltk.eval.results import Score

SIZE, STRIDE = 8, 4


class Greys(nn.Module):
    """A code a patch: its brightness in `levels` steps; it remembers nothing else."""

    reconstructs, stride = True, STRIDE

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.num_codes = levels
        self.nothing = nn.Parameter(torch.zeros(1))

    def codes(self, images: Tensor) -> Tensor:
        means = nn.functional.avg_pool2d(images.float().mean(1, keepdim=True), STRIDE)
        return (means * self.num_codes / 256).long().flatten(1)

    def decode_codes(self, codes: Tensor) -> Tensor:
        greys = (codes * (256 // self.num_codes)).view(len(codes), 1, SIZE // STRIDE, SIZE // STRIDE).to(torch.uint8)
        return greys.repeat_interleave(STRIDE, 2).repeat_interleave(STRIDE, 3).expand(-1, 3, -1, -1)


def trained(model: Any) -> Any:
    return SimpleNamespace(model=model, name="fake/codes", step=3, image=SimpleNamespace(size=SIZE))


@pytest.fixture
def photos(data_root: Any) -> list[np.ndarray]:
    """`photos/train` and `photos/dev`: four images, each patch of one grey among 0, 64, 128, 192."""
    rng = np.random.default_rng(0)
    greys = [64 * rng.integers(0, 4, (2, 2)).astype(np.uint8) for _ in range(4)]
    images = [np.repeat(np.repeat(grey, STRIDE, 0), STRIDE, 1)[..., None].repeat(3, 2) for grey in greys]
    for split in ("train", "dev"):
        records = [Record(f"p{i}", bytes(cv2.imencode(".png", image)[1]), [], {}) for i, image in enumerate(images)]
        write_dataset(data_root / "photos" / split, records, {"kind": "test"})
    return greys


def scored(model: Any, **options: Any) -> dict[str, Score]:
    protocol = VisualTokenizer(train="photos/train", test="photos/dev", **options)
    scores = protocol(Subject(trained(model)))
    assert {score.metric for score in scores} <= set(protocol.metrics)
    return {score.metric: score for score in scores}


def test_a_tokenizer_that_remembers_everything(photos: list[np.ndarray]) -> None:
    found = scored(Greys(4))
    _, counts = np.unique(np.stack(photos), return_counts=True)
    shares = counts / counts.sum()
    perplexity = np.exp(-(shares * np.log(shares)).sum())
    assert found["PSNR"].value > 100 and found["PSNR"].n == 4
    assert found["perplexity"].value == found["k-means perplexity"].value == pytest.approx(perplexity)
    assert (found["used codes"].value, found["dead codes"].value) == (len(counts), 4 - len(counts))
    assert found["k-means PSNR"].value > 100  # four centres for four patches
    assert found["PSNR"].detail == {"codes": 4, "patches": 16}


def test_psnr_is_the_mean_over_images(photos: list[np.ndarray]) -> None:
    """Of two levels 0 and 128: greys of 64 and 192 are remembered as 0 and 128."""
    found = scored(Greys(2), kmeans=False)
    errors = [np.mean((grey.astype(float) - grey // 128 * 128.0) ** 2) for grey in photos]
    assert found["PSNR"].value == pytest.approx(np.mean([10 * np.log10(255**2 / max(e, 1e-9)) for e in errors]))
    assert set(found) == {"PSNR", "perplexity", "used codes", "dead codes"}


def test_a_tokenizer_without_a_way_back_has_no_psnr(photos: list[np.ndarray]) -> None:
    model = Greys(4)
    model.reconstructs = False
    assert set(scored(model, kmeans=False)) == {"perplexity", "used codes", "dead codes"}


def test_real_tokenizers(photos: list[np.ndarray]) -> None:
    from vltk.parts import choose

    codes = choose("models/codebooks", "dvae", width=8, blocks=1, groups=3, codes=12, code_width=8).build()
    assert 0 < scored(codes)["PSNR"].value < 60
    subject = trained(tiny.vqkd())
    subject.image.size = tiny.IMAGE
    scores = VisualTokenizer(train="photos/train", test="photos/dev", kmeans=False)(Subject(subject))
    assert [score.metric for score in scores] == ["perplexity", "used codes", "dead codes"]


def test_what_is_no_tokenizer(photos: list[np.ndarray]) -> None:
    with pytest.raises(VltkError, match="the run fake/codes is no tokenizer: give the stage that trained one"):
        scored(tiny.flava())


def test_it_is_written_with_two_data_sets() -> None:
    choice: Any = task.read(["tokenizer:a/train:b/dev:kmeans=false"])["tokenizer:a/train:b/dev:kmeans=false"]
    assert choice.build().data_sets == ["a/train", "b/dev"] and not choice.kmeans
    assert "k-means PSNR" in VisualTokenizer(train="a", test="b").metrics


def test_patches_are_cut_and_joined() -> None:
    images = np.random.default_rng(1).integers(0, 256, (3, 3, 8, 8), dtype=np.uint8)
    patches = cut(images, 4)
    assert patches.shape == (12, 48)
    np.testing.assert_allclose(patches[5], images[1, :, 0:4, 4:8].ravel() / 255, atol=1e-6)
    assert (joined(np.round(255 * patches).astype(np.uint8), 8, 4) == images).all()


def test_kmeans_codes_are_the_nearest_centres() -> None:
    images = np.random.default_rng(2).integers(0, 256, (20, 3, 8, 8), dtype=np.uint8)
    found = PatchCodes.fit(images, 4, 6, seed=0)
    patches, centres = cut(images, 4), found.fitted.cluster_centers_
    wanted = np.square(patches[:, None] - centres[None]).sum(2).argmin(1)
    assert (found.codes(images).ravel() == wanted).all() and found.codes(images).shape == (20, 4)
    again = cut(found.reconstruct(images), 4)
    np.testing.assert_allclose(again, centres[wanted], atol=0.5 / 255 + 1e-6)


def test_psnr_in_numbers() -> None:
    images = np.zeros((2, 3, 4, 4), np.uint8)
    others = images.copy()
    others[1] = 255
    assert psnr(images, others)[1] == pytest.approx(0) and psnr(images, images)[0] > 100
