"""Masked image modelling to look at: the codes predicted for hidden patches, decoded into pixels by the codebook."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from vltk.errors import VltkError
from vltk.report.galleries.examples import SEED, Image, Source, pairs, picture, samples, streams_with, tensor_of

if TYPE_CHECKING:
    import torch

    from vltk.data.dataset import Sample
    from vltk.run import Trained

COUNT = 6
HEADS = ("what the model sees", "what it predicts", "the best its codes allow", "the image")
GREY = 128
RATIO = 75 / 196  # most patches hidden, as BEiT


def sources(recipe: dict[str, Any]) -> list[Source]:
    return [Source(data) for data in streams_with(recipe, "mim")] + pairs(recipe, "mmm")


def title(source: Source) -> str:
    return "Masked patches, caption in view" if source.fused else "Masked patches"


def draw(trained: Trained, source: Source) -> tuple[str, str]:
    """A row an image: masked, with predicted codes, with its own codes, whole; and how many codes were right."""
    from vltk.data.dataset import open_dataset

    codebook = trained.helpers.get("codes")
    if codebook is None:
        raise VltkError("the stage has no codebook (frozen: {codes: ...}) to decode predictions with")
    chosen = samples(open_dataset(source.data), COUNT, image=True, text=source.fused)
    images = tensor_of(chosen, trained.image.size)
    model: Any = trained.model
    grid = model.image.grid
    masked_at = _masks(grid, codebook.stride, len(images))  # (B, N)
    logits = _predictions(trained, source, images, masked_at, chosen)  # (K, codes)
    true = codebook.codes(tensor_of(chosen, grid[0] * codebook.stride))  # (B, N)
    predicted = true.clone()
    predicted[masked_at] = logits.argmax(-1)
    seen = [_paste(i, np.full_like(i, GREY), m) for i, m in _each(images, masked_at, grid)]
    guess, best = (_decoded(codebook, codes, images, masked_at, grid) for codes in (predicted, true))
    right = ((predicted == true) & masked_at).sum(1).tolist()
    cells = "".join(
        f"<figure>{''.join(map(picture, views))}<figcaption>{hits} of {hidden} codes right{_caption(sample, source)}"
        "</figcaption></figure>"
        for *views, hits, hidden, sample in zip(
            seen, guess, best, images.numpy(), right, masked_at.sum(1).tolist(), chosen, strict=True
        )
    )
    return _note(source, sum(right), int(masked_at.sum())), f'<div class="patches">{_heads()}{cells}</div>'


def _heads() -> str:
    return f'<div class="heads">{"".join(f"<span>{head}</span>" for head in HEADS)}</div>'


def _note(source: Source, right: int, hidden: int) -> str:
    how = "From the rest of the image and its caption" if source.fused else "From the rest of the image"
    return f"{how}: {right} of {hidden} hidden codes exactly right. {source.told}."


def _caption(sample: Sample, source: Source) -> str:
    return f"<br>{escape(sample.texts[0])}" if source.fused else ""


def _masks(grid: tuple[int, int], stride: int, count: int) -> torch.Tensor:
    """(count, N) True at hidden patches: BEiT's blocks, as in training."""
    import torch

    from vltk.data.views.block_mask import BlockMask
    from vltk.objectives._contract import image_views

    options = image_views(grid, stride, RATIO, None)["image_masked_at"]
    view = BlockMask(**{key: value for key, value in options.items() if key != "maker"})
    rng = np.random.default_rng(SEED)
    return torch.stack([torch.as_tensor(view.draw(rng)) for _ in range(count)])


def _predictions(
    trained: Trained, source: Source, images: torch.Tensor, masked_at: torch.Tensor, chosen: list[Sample]
) -> torch.Tensor:
    from vltk.data.batch import padded
    from vltk.models import inference

    if not source.fused:
        return inference.predict_codes(trained.model, images, masked_at)
    ids, lengths = padded([trained.tokenizer.encode(s.texts[0])[0] for s in chosen], trained.tokenizer.pad)
    return inference.predict_codes_from_pair(trained.model, images, masked_at, ids, lengths)


def _decoded(
    codebook: Any, codes: torch.Tensor, images: torch.Tensor, masked_at: torch.Tensor, grid: tuple[int, int]
) -> list[Image]:
    """The images with their hidden patches decoded from `codes` (B, N)."""
    pixels = codebook.decode_codes(codes).numpy()  # (B, 3, h, w), of the codebook's size
    return [
        _paste(image, _scaled(made, image.shape[1]), mask)
        for made, (image, mask) in zip(pixels, _each(images, masked_at, grid), strict=True)
    ]


def _each(images: torch.Tensor, masked_at: torch.Tensor, grid: tuple[int, int]) -> list[tuple[Image, Any]]:
    """Each image (3, S, S) with its mask (S, S) over pixels."""
    size = images.shape[-1]
    masks = masked_at.view(-1, *grid).numpy().astype(np.uint8)
    return [(image, _scaled(mask[None], size)[0] > 0) for image, mask in zip(images.numpy(), masks, strict=True)]


def _scaled(image: Image, size: int) -> Image:
    """(C, h, w) -> (C, size, size), each pixel as a square."""
    import cv2

    return np.stack([cv2.resize(channel, (size, size), interpolation=cv2.INTER_NEAREST) for channel in image])


def _paste(image: Image, other: Image, mask: Any) -> Image:
    return np.where(mask, other, image)
