"""What runs in a step: the samples that enter each encoder, and the plan behind it (design section 4.6)."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests import tiny
from vltk.models import packing
from vltk.models.encoded import Encoded
from vltk.models.passes import Plan
from vltk.models.positions import resized

SIZE = 6
STREAMS: dict[str, tuple[tuple[str, ...], dict[str, int]]] = {
    "images alone": (("mim",), {"image": SIZE}),
    "texts alone": (("mlm",), {"text": SIZE}),
    "pairs": (("itc", "itm", "mmm"), {"image": 2 * SIZE, "text": 2 * SIZE, "fusion": SIZE}),
    "contrast alone": (("itc",), {"image": SIZE, "text": SIZE}),
    "matching alone": (("itm",), {"image": SIZE, "text": SIZE, "fusion": SIZE}),
    "masking alone": (("mmm",), {"image": SIZE, "text": SIZE, "fusion": SIZE}),
}


def counted(model: Any, names: tuple[str, ...], batch: dict[str, torch.Tensor], codes: Any) -> dict[str, int]:
    """Samples that enter the transformer of each encoder in one forward."""
    seen: dict[str, int] = {}
    hooks = []
    for name in ("image", "text", "fusion"):

        def count(module: Any, inputs: Any, name: str = name) -> None:
            seen[name] = seen.get(name, 0) + len(inputs[0])

        hooks.append(getattr(model, name).transformer.register_forward_pre_hook(count))
    tiny.pretraining(model, *names, codes=codes)("all", batch, 0)
    for hook in hooks:
        hook.remove()
    return seen


@pytest.mark.parametrize("stream", STREAMS)
def test_samples_that_enter_each_encoder(stream: str) -> None:
    names, wanted = STREAMS[stream]
    codes = tiny.Cached()
    assert counted(tiny.flava(), names, tiny.batch(SIZE, matched=(1, 0, 1, 1, 0, 1)), codes) == wanted
    assert codes.calls == 0


def test_crops_have_passes_of_their_own() -> None:
    """Two crops of each image in one batch, three small ones in another; only CLS rows come back."""
    model, batch = tiny.flava(text=None, fusion=None), tiny.crops(SIZE)
    encoded = Encoded(model, batch, Plan.of([("crops", "cls"), ("local_crops", "cls")]))
    assert encoded["crops"].hidden.shape == (2 * SIZE, 1, tiny.WIDTH)
    assert encoded["local_crops"].hidden.shape == (3 * SIZE, 1, tiny.WIDTH)
    alone = model.encode_images(batch["local_crops"][1, 2][None], [None], [None])[0].cls
    torch.testing.assert_close(encoded["local_crops"].cls[1 * 3 + 2], alone[0])
    whole = Encoded(model, batch, Plan.of([("crops", "cls"), ("crops", "all")]))
    torch.testing.assert_close(whole["crops"].cls, encoded["crops"].cls)


def test_images_of_another_size_meet_interpolated_positions() -> None:
    model = tiny.flava(text=None, fusion=None).image
    images = torch.randn(2, 3, 32, 96)
    states = model.embed(images, [None])
    patches = model.patch_projection(model._patchify(images))
    positions = resized(model.positions, (4, 4), (2, 6))
    torch.testing.assert_close(states[:, 1:], patches + positions[1:])
    torch.testing.assert_close(states[:, 0], (model.cls + model.positions[0]).expand(2, -1))


def test_the_codebook_is_asked_once_when_codes_are_not_cached() -> None:
    batch = tiny.batch(SIZE, matched=(1, 0, 1, 1, 0, 1))
    del batch["codes"]
    batch["image_for_codes"] = torch.zeros(SIZE, 3, 32, 32, dtype=torch.uint8)
    for names, calls in ((("itc", "itm"), 0), (("mmm", "itm"), 1), (("mim",), 1)):
        codes = tiny.Cached()
        tiny.pretraining(tiny.flava(), *names, codes=codes)("all", batch, 0)
        assert codes.calls == calls


def test_two_towers_run_once_each() -> None:
    model, seen = tiny.clip(), []
    for tower in (model.image, model.text):
        tower.transformer.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
    tiny.pretraining(model, "itc")("all", tiny.batch(SIZE), 0)
    assert seen == [SIZE, SIZE]


def test_the_last_block_runs_only_at_rows_that_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "MULTIPLE", 1)
    model = tiny.flava()
    seen: dict[str, list[int]] = {}
    for name in ("image", "text", "fusion"):

        def note(module: Any, inputs: Any, output: torch.Tensor, name: str = name) -> None:
            seen.setdefault(name, []).append(output.shape[:-1].numel())

        getattr(model, name).transformer.blocks[-1].register_forward_hook(note)
    batch = tiny.batch(SIZE, matched=(1, 0, 1, 1, 0, 1))
    tiny.pretraining(model, "itc", "itm", "mmm")("all", batch, 0)
    # clean: CLS; masked: everything, as the fused pass reads it, but no padding
    assert seen["image"] == [SIZE, SIZE * (1 + tiny.PATCHES)]
    assert seen["text"] == [SIZE, int(batch["text_length"].sum())]
    masked = batch["image_masked_at"].sum(1) + batch["text_masked_at"].sum(1)
    assert seen["fusion"] == [SIZE * (1 + int(masked.max()))]


def test_a_plan_has_the_fewest_passes() -> None:
    plan = Plan.of([("fused_masked", "cls"), ("image", "cls"), ("text", "cls"), ("fused_masked", "text_masked")])
    assert list(plan.rows) == ["image", "image_masked", "text", "text_masked", "fused_masked"]
    assert plan.rows["image"] == {"cls"}
    assert plan.rows["image_masked"] == {"all"}
    assert plan.rows["fused_masked"] == {"cls", "text_masked"}
    with pytest.raises(ValueError, match="no rows 'text_masked' in a pass 'image'"):
        Plan.of([("image", "text_masked")])
