"""What the codes of a visual tokenizer remember of an image: the original beside its reconstruction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vltk.report.galleries.examples import Source, picture, samples, streams_with, tensor_of

if TYPE_CHECKING:
    from vltk.run import Trained

COUNT = 10


def sources(recipe: dict[str, Any]) -> list[Source]:
    return [Source(data) for data in streams_with(recipe, "dvae")]


def title(source: Source) -> str:
    return "Reconstructions"


def draw(trained: Trained, source: Source) -> tuple[str, str]:
    """Pairs of originals and what is decoded from their hard codes, with the PSNR of each."""
    from vltk.data.dataset import open_dataset

    model: Any = trained.model
    images = tensor_of(samples(open_dataset(source.data), COUNT, image=True), trained.image.size)
    codes, remade = model.codes(images), model.reconstruct(images)
    cells = (_pair(image.numpy(), again.numpy()) for image, again in zip(images, remade, strict=True))
    note = (
        f"Left the image, right what is left of it in {codes.shape[1]} codes of {model.num_codes:,}; "
        f"{codes.unique().numel():,} different codes in these {len(images)} images. {source.told}."
    )
    return note, f'<div class="pairs">{"".join(cells)}</div>'


def _pair(image: Any, remade: Any) -> str:
    error = float(np.mean((image.astype(np.float64) - remade) ** 2))
    psnr = 10 * np.log10(255**2 / max(error, 1e-9))
    return (
        f"<figure><div>{picture(image, 'original')}{picture(remade, 'reconstruction')}</div>"
        f"<figcaption>{psnr:.1f} dB</figcaption></figure>"
    )
