"""A visual tokenizer: what its codes remember of unseen images and how many it uses, beside k-means on pixel patches.

Images are those of every evaluation, squashed to the size that the tokenizer was trained at. Reconstructions are made
of hard codes alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from vltk.errors import VltkError
from vltk.eval.metrics.pixels import psnr
from vltk.eval.results import Score

if TYPE_CHECKING:  # features imports torch: seconds that a message about missing data must not cost
    from vltk.eval.features import Samples, Subject

Count = Annotated[int, Field(gt=0)]
Limit = Annotated[int | None, Field(gt=0)]
PSNR, PERPLEXITY, USED, DEAD = "PSNR", "perplexity", "used codes", "dead codes"
KMEANS_PSNR, KMEANS_PERPLEXITY = "k-means PSNR", "k-means perplexity"


class VisualTokenizer:
    """PSNR in dB (the mean over images of each image's own), and perplexity, used and dead codes over all of `test`.

    Beside them those of k-means with as many centres as codes, for patches of as many pixels, fitted to all patches of
    images of `train` that are drawn by the seed until there are `patches` of them; left out with `kmeans: false`.
    A tokenizer that gives no pixels (a vqkd) has no PSNR. `limit` images of `test` are drawn by the seed (None: all).
    """

    def __init__(
        self,
        *,
        train: str,
        test: str,
        kmeans: bool = True,
        patches: Count = 200_000,
        limit: Limit = None,
        batch_size: Count = 32,
    ) -> None:
        self.train, self.test, self.kmeans, self.patches = train, test, kmeans, patches
        self.limit, self.batch_size = limit, batch_size

    @property
    def data_sets(self) -> list[str]:
        return [self.train, self.test]

    @property
    def needs(self) -> list[str]:
        """Abilities of the model."""
        return ["codes"]

    @property
    def metrics(self) -> list[str]:
        return [PSNR, PERPLEXITY, USED, DEAD, *([KMEANS_PSNR, KMEANS_PERPLEXITY] if self.kmeans else [])]

    def __call__(self, subject: Subject) -> list[Score]:
        """Raises VltkError where the run is no tokenizer, and naming the sample that has no decodable image."""
        codebook = _codebook(subject)
        test = subject.samples(self.test, self.limit)
        found = [_encoded(codebook, images, subject) for images in self._images(test)]
        scores = _scores(test, found, codebook.num_codes, (PSNR, PERPLEXITY, USED, DEAD))
        if self.kmeans:
            beside = self._beside(codebook, subject, test)
            scores += _scores(test, beside, codebook.num_codes, (KMEANS_PSNR, KMEANS_PERPLEXITY))
        return scores

    def _images(self, samples: Samples) -> list[Any]:
        """Batches (b, 3, S, S) uint8."""
        return [images.numpy() for _, images in samples.images(self.batch_size)]

    def _beside(self, codebook: Any, subject: Subject, test: Samples) -> list[tuple[Any, Any]]:
        from vltk.eval.patches import PatchCodes

        size = subject.trained.image.size
        images = max(1, self.patches // (size // codebook.stride) ** 2)
        seen = np.concatenate(self._images(subject.samples(self.train, images)))
        codes = PatchCodes.fit(seen, codebook.stride, codebook.num_codes, subject.seed)
        return [(codes.codes(some), psnr(some, codes.reconstruct(some))) for some in self._images(test)]


def _codebook(subject: Subject) -> Any:
    codebook, name = subject.trained.model, subject.trained.name
    if not hasattr(codebook, "num_codes"):
        raise VltkError(
            f"the run {name} is no tokenizer: give the stage that trained one, as {name.split('/')[0]}/codes"
        )
    return codebook


def _encoded(codebook: Any, images: Any, subject: Subject) -> tuple[Any, Any]:
    """Codes (b, N) of images (b, 3, S, S), and the PSNR (b,) of what they remember; None where that is no image."""
    import torch

    codes = codebook.codes(torch.from_numpy(images).to(subject.device))
    if not codebook.reconstructs:
        return codes.cpu().numpy(), None
    return codes.cpu().numpy(), psnr(images, codebook.decode_codes(codes).cpu().numpy())


def _scores(samples: Samples, found: list[tuple[Any, Any]], size: int, names: tuple[str, ...]) -> list[Score]:
    """Of batches of (codes, PSNR), as many scores as there are names and pixels."""
    import torch

    from vltk.models.codebooks._usage import counted, usage

    codes, noise = zip(*found, strict=True)
    figures = usage(counted(torch.from_numpy(np.concatenate(codes)), size))
    values = [None if noise[0] is None else float(np.concatenate(noise).mean())]
    values += [figures["perplexity"], figures["codes_used"], figures["dead_codes"]]
    detail = {"codes": size, "patches": int(sum(some.size for some in codes))}
    return [
        Score(samples.split, name, value, len(samples), detail=detail)
        for name, value in zip(names, values, strict=False)
        if value is not None
    ]
