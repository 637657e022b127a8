"""What the codes of a visual tokenizer remember of an image: the original beside its reconstruction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vltk.report.galleries.examples import Source, evaluated, picture, samples, streams_with, tensor_of

if TYPE_CHECKING:
    from vltk.run import Trained

COUNT = 10


def sources(recipe: dict[str, Any]) -> list[Source]:
    trained_on = [Source(data) for data in streams_with(recipe, "dvae", "vqkd")]
    return (evaluated(recipe, "tokenizer", "test") or trained_on) if trained_on else []


def title(source: Source) -> str:
    return "Reconstructions"


def draw(trained: Trained, source: Source) -> tuple[str, str]:
    """Pairs of originals and what is decoded from their hard codes, with the PSNR of each, and how codes are used.

    Raises VltkError where the tokenizer gives no pixels.
    """
    from vltk.data.dataset import open_dataset
    from vltk.eval.metrics.pixels import psnr
    from vltk.models.codebooks._usage import counted, usage

    model: Any = trained.model
    images = tensor_of(samples(open_dataset(source.data), COUNT, image=True), trained.image.size)
    codes, remade = model.codes(images), model.reconstruct(images)
    noise, used = psnr(images.numpy(), remade.numpy()), usage(counted(codes, model.num_codes))
    cells = (_pair(*pair) for pair in zip(images.numpy(), remade.numpy(), noise, strict=True))
    note = (
        f"Left the image, right what is left of it in {codes.shape[1]} codes of {model.num_codes:,}. In these "
        f"{len(images)} images {used['codes_used']:.0f} different codes, perplexity {used['perplexity']:.1f}, "
        f"{noise.mean():.1f} dB on average. {source.told}."
    )
    return note, f'<div class="pairs">{"".join(cells)}</div>'


def _pair(image: Any, remade: Any, noise: float) -> str:
    return (
        f"<figure><div>{picture(image, 'original')}{picture(remade, 'reconstruction')}</div>"
        f"<figcaption>{noise:.1f} dB</figcaption></figure>"
    )
