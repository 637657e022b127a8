"""A whole step in fp32 against the plain form of each thing that makes it fast: the slow, obvious one is the oracle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from tests import tiny
from tests.golden.work import Calls
from tests.unit.models.near import assert_same_gradients, assert_same_losses
from vltk.models import layers, packing
from vltk.models.encoders.bert import TextTransformer
from vltk.models.encoders.vit import VisionTransformer
from vltk.models.layers import Rows, Transformer
from vltk.models.packing import Packing
from vltk.models.tokens import Text, Tokens
from vltk.train.accumulate import run_step

Patch = pytest.MonkeyPatch


class Unpacked(Packing):
    """All positions stay, in their order."""

    def repeated(self, times: int) -> Packing:
        return self

    def pack(self, x: Tensor) -> Tensor:
        return x.flatten(0, 1)

    def pad(self, x: Tensor) -> Tensor:
        return x.unflatten(0, (-1, self.slots.shape[1]))

    def numbers(self, index: Tensor) -> Tensor:
        return self.slots.gather(1, index)


def padding(patch: Patch) -> None:
    """Nothing is packed; attention masks the padding."""

    def of(lengths: Tensor, size: int) -> Packing:
        at = torch.arange(len(lengths) * size)
        return Unpacked(at, at.view(len(lengths), size))

    patch.setattr(Packing, "of", of)


def last_block_whole(patch: Patch) -> None:
    """The last block runs at all rows, and those that are read are taken afterwards."""
    forward = Transformer.forward

    def whole(
        self: Transformer, x: Tensor, mask: Tensor | None, reads: list[Rows | None], packing: Packing | None = None
    ) -> list[Tensor]:
        hidden = forward(self, x, mask, [None] * len(reads), packing)
        return [h if rows is None else rows.take(h) for h, rows in zip(hidden, reads, strict=True)]

    patch.setattr(Transformer, "forward", whole)


def passes_apart(patch: Patch) -> None:
    """Clean and masked inputs each run alone, from the embeddings on."""
    see, read = VisionTransformer.encode, TextTransformer.encode

    def images(
        self: VisionTransformer, images: Tensor, masks: list[Tensor | None], reads: list[Rows | None]
    ) -> list[Tokens]:
        return [see(self, images, [mask], [rows])[0] for mask, rows in zip(masks, reads, strict=True)]

    def texts(self: TextTransformer, passes: list[Text], reads: list[Rows | None]) -> list[Tokens]:
        return [read(self, [text], [rows])[0] for text, rows in zip(passes, reads, strict=True)]

    patch.setattr(VisionTransformer, "encode", images)
    patch.setattr(TextTransformer, "encode", texts)


class Elsewhere(Tensor):
    """Says that it does not lie on the CPU, where it lies."""

    device = torch.device("meta")


def sdpa(patch: Patch) -> None:
    """Attention as off the CPU. Here the plain form is the one that runs, and this the fast one."""
    attend = layers.attend

    def elsewhere(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        return attend(query.as_subclass(Elsewhere), key, value, mask).as_subclass(Tensor)

    patch.setattr(layers, "attend", elsewhere)


STD = 0.2  # of the weights: where embeddings are nearly one, gradients of the contrast cancel, and rounding is left
STREAMS = {
    "pairs": ("flava", ("itc", "itm", "mmm")),
    "text": ("flava", ("mlm",)),
    "image": ("flava", ("mim",)),
    "clip": ("clip", ("itc",)),
}
CASES = [
    *((padding, stream) for stream in ("pairs", "text", "clip")),
    *((last_block_whole, stream) for stream in STREAMS),
    (passes_apart, "pairs"),
    *((sdpa, stream) for stream in STREAMS),
]


@pytest.mark.parametrize("multiple", [1, 8, 64])
@pytest.mark.parametrize(("form", "stream"), CASES, ids=lambda one: getattr(one, "__name__", one))
def test_a_step_equals_its_plain_form(
    monkeypatch: Patch, form: Callable[[Patch], None], stream: str, multiple: int
) -> None:
    """Every loss and gradient; the two forms do not do the same operations."""
    monkeypatch.setattr(packing, "MULTIPLE", multiple)
    losses, gradients, work = step(*STREAMS[stream])
    form(monkeypatch)
    plain_losses, plain_gradients, plain_work = step(*STREAMS[stream])
    assert work != plain_work and len(plain_gradients) > 20
    assert_same_losses(losses, plain_losses)
    assert_same_gradients(gradients, plain_gradients)


def step(family: str, names: tuple[str, ...]) -> tuple[dict[str, Tensor], dict[str, Tensor], tuple[int, int]]:
    """Losses, gradients, and how many FLOPs and operators they took."""
    batch = tiny.batch(matched=(1, 0, 1, 1, 0, 1) if family == "flava" else None)
    assert (batch["text_length"] < batch["text"].shape[1]).any()
    model: Any = tiny.randomised(getattr(tiny, family)(), seed=0, std=STD)
    pretraining = tiny.pretraining(model, *names)
    with FlopCounterMode(display=False) as flops, Calls() as calls:
        record = run_step(tiny.Bare(pretraining), pretraining, "all", [batch], step=0, seed=0)
    return record.losses, tiny.gradients(model), (flops.get_total_flops(), calls.count)
