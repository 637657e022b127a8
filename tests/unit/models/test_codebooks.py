"""Tables of codes: lookup and k-means against brute force, and how their use is told."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests import tiny
from vltk.errors import VltkError
from vltk.models.codebooks import _kmeans
from vltk.models.codebooks._usage import collapsed, counted, usage
from vltk.parts import choose


def vectors(count: int, width: int, seed: int = 0) -> torch.Tensor:
    """(count, width) of length 1."""
    return F.normalize(torch.randn(count, width, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_use_is_told_from_counts() -> None:
    counts = counted(torch.tensor([[1, 1, 4], [4, 1, 4]]), 6)
    assert counts.tolist() == [0, 3, 0, 0, 3, 0]
    assert usage(counts) == {"codes_used": 2, "dead_codes": 4, "perplexity": pytest.approx(2)}
    uneven = torch.tensor([1, 0, 3])
    wanted = math.exp(-0.25 * math.log(0.25) - 0.75 * math.log(0.75))
    assert usage(uneven)["perplexity"] == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("counts", "wanted"),
    [
        ([1000, 0, 0, 0], True),  # one code for everything
        ([999, 1, 0, 0], True),
        ([30, 30, 0, 0], False),  # two of four, half each
        ([60_000] + [1] * 999, True),  # a thousand codes, nearly all of it in one
        ([1] * 10 + [0] * 8182, False),  # ten patches cannot show more than ten codes
    ],
)
def test_a_collapse_is_seen(counts: list[int], wanted: bool) -> None:
    assert collapsed(torch.tensor(counts)) is wanted


def test_the_nearest_code_is_that_of_brute_force(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_kmeans, "PIECE", 7)  # in pieces, the last one shorter
    encodings, table = vectors(50, 5).double(), vectors(23, 5, seed=1).double()
    far = np.linalg.norm(
        encodings.numpy()[:, None] - table.numpy()[None], axis=2
    )  # Euclid's: of length 1 the same order
    assert _kmeans.nearest(encodings, table).tolist() == far.argmin(1).tolist()
    model = tiny.vqkd()
    images = torch.rand(3, 3, tiny.IMAGE, tiny.IMAGE)
    found = model.codes(images)
    with torch.no_grad():
        encoded = model.encode(images)
    torch.testing.assert_close(encoded.norm(dim=-1), torch.ones(3, 16))
    cosines = [[[float(one @ code) for code in model.codebook] for one in image] for image in encoded]
    assert found.dtype == torch.int64 and found.tolist() == np.array(cosines).argmax(2).tolist()


def test_of_equal_codes_the_first_is_taken() -> None:
    table = vectors(2, 4)[[0, 1, 0, 1]]
    assert _kmeans.nearest(table, table).tolist() == [0, 1, 0, 1]


def test_sums_of_each_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_kmeans, "PIECE", 4)
    encodings, codes = vectors(11, 3), torch.tensor([0, 2, 2, 0, 4, 0, 2, 2, 2, 4, 0])
    counts, sums = _kmeans.summed(encodings, codes, 5)
    assert counts.tolist() == [4, 0, 5, 0, 2]
    wanted = torch.stack([encodings[codes == code].sum(0) for code in range(5)])
    torch.testing.assert_close(sums, wanted)


def test_kmeans_finds_what_lies_together() -> None:
    middles = torch.eye(4, 6)
    encodings = F.normalize(middles.repeat_interleave(30, 0) + 0.05 * torch.randn(120, 6), dim=1)
    centres, counts = _kmeans.kmeans(encodings, vectors(12, 6), 20, unit=True)
    assert sorted(set((centres @ middles.T).argmax(1).tolist())) == [0, 1, 2, 3]
    assert (centres @ middles.T).max(1).values.min() > 0.98
    torch.testing.assert_close(centres.norm(dim=1), torch.ones(12))
    assert counts.sum() == 120
    own = _kmeans.nearest(encodings, centres)
    for code in own.unique():  # each centre is the mean direction of its own: nothing is left to move
        torch.testing.assert_close(centres[code], F.normalize(encodings[own == code].sum(0), dim=0), atol=1e-5, rtol=0)


def test_with_fewer_encodings_than_codes_the_rest_stays() -> None:
    table, few = vectors(8, 4), vectors(3, 4, seed=5)
    centres, counts = _kmeans.kmeans(few, table, 3, unit=True)
    assert torch.equal(centres[3:][counts[3:] == 0], table[3:][counts[3:] == 0]) and (counts[:3] == 1).any()


def test_a_vqkd_has_no_way_back_to_pixels() -> None:
    model = tiny.vqkd()
    assert (model.stride, model.num_codes, model.reconstructs) == (16, 16, False)
    for act in (model.reconstruct, model.decode_codes):
        with pytest.raises(VltkError, match="not for pixels: there is no way back"):
            act(torch.zeros(1, 16))


def test_images_that_the_stride_does_not_divide() -> None:
    model = choose("models/codebooks", "dvae", width=8, blocks=1, groups=3, codes=12).build()
    with pytest.raises(VltkError, match="images of 18 pixels given, no multiple of the stride 4"):
        model.codes(torch.zeros(1, 3, 18, 18, dtype=torch.uint8))
