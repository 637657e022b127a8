"""Training of DALL-E's visual tokenizer (arXiv 2102.12092 section 2.1 and appendix A.2).

Gumbel-softmax relaxation forward and backward, logit-Laplace reconstruction, KL to the uniform prior over the codes.
Schedules are from memory of appendix A.2 and are written into the recipes, where they can be changed; that of the
learning rate, which falls over steps of its own, is the optimizer's (`lr_steps`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vltk import dist
from vltk.models.codebooks._kmeans import kmeans, nearest
from vltk.models.codebooks._usage import counted
from vltk.models.codebooks.dvae import map_pixels, unmap_pixels
from vltk.models.encoded import Encoded
from vltk.models.passes import Read
from vltk.objectives._contract import Batch, Losses

ITERATIONS = 10  # of k-means
SHARPNESS = 2.0  # of the start: logits are minus it times squared distances over their mean to the nearest centre


class DVaeReconstruction(nn.Module):
    """Negative evidence lower bound a pixel and channel; mean over images.

    temperature falls as a half cosine from `temperature` to `final_temperature` over `temperature_steps`; the KL weight
    rises from 0 to `kl` over `kl_steps` (6.6 / 192 in DALL-E's units, where the whole loss is divided by the number of
    pixels and channels).
    kmeans, ours, for tokenizers trained for thousands of steps instead of DALL-E's millions: behind the first step each
    code becomes a centre of the features that this step has seen, of which there should be several a code; where codes
    begin at random, nearly all patches share a few of them at first.
    """

    def __init__(
        self,
        model: Any,
        *,
        temperature: float = 1.0,
        final_temperature: float = 1 / 16,
        temperature_steps: int = 150_000,
        kl: float = 6.6 / 192,
        kl_steps: int = 5_000,
        kmeans: bool = False,
        weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.kmeans = self.moves_parameters = kmeans
        self._beside = (model,)  # a tuple: no submodule
        self.views = {"image": {"maker": "image"}}
        self.temperature, self.final_temperature = temperature, final_temperature
        self.temperature_steps, self.kl, self.kl_steps, self.weight = temperature_steps, kl, kl_steps, weight

    def reads(self, views: set[str]) -> set[Read]:
        return set()

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        images = batch["image"].new_tensor(len(batch["image"]), dtype=torch.long)
        return {"reconstruction": images, "kl": images}

    def forward(self, encoded: Encoded, step: int) -> Losses:
        model, images = encoded.model, encoded.batch["image"]
        kept = {"dvae features": model.features(images)} if self.kmeans and step == 0 else {}
        target = map_pixels(images)  # (B, 3, S, S)
        logits = encoded.code_logits  # (B, K, h, w)
        temperature = half_cosine(self.temperature, self.final_temperature, step / self.temperature_steps)
        mean, log_scale = model.stats(F.gumbel_softmax(logits, tau=temperature, dim=1)).float().chunk(2, dim=1)
        pixels = target[0].numel()
        reconstruction = logit_laplace(target, mean, log_scale).sum() / pixels
        kl_weight = half_cosine(0.0, self.kl, step / self.kl_steps)
        kl = kl_weight * kl_to_uniform(logits).sum() / (logits.shape[2] * logits.shape[3])
        sums = {"reconstruction": self.weight * reconstruction, "kl": self.weight * kl}
        noise = psnr(unmap_pixels(mean.sigmoid()), unmap_pixels(target)).mean()  # of the relaxed codes
        counts = counted(logits.argmax(1), logits.shape[1])
        return Losses(sums, {"temperature": logits.new_tensor(temperature), "psnr": noise}, counts, kept)

    @torch.no_grad()
    def after_step(self, kept: Mapping[str, Sequence[Tensor]], step: int) -> dict[str, Tensor]:
        """Behind the first step codes become centres of the features that it has seen, where the recipe says so."""
        if "dvae features" not in kept:
            return {}
        model, features = self._beside[0], dist.gather(torch.cat(list(kept["dvae features"])))
        centres, _ = kmeans(features, model.encoder.output.weight.flatten(1), ITERATIONS)
        centres = dist.from_main(centres)
        within = (features - centres[nearest(features, centres)]).square().sum(1).mean()
        least = 0.01 * (features - features.mean(0)).square().sum(1).mean()  # where there are hardly more than codes
        model.start_codes(centres, float(torch.maximum(within, least).clamp(min=1e-6)) / SHARPNESS)
        return {}


def half_cosine(start: float, end: float, progress: float) -> float:
    """From `start` at progress 0 to `end` at 1 and beyond."""
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def logit_laplace(target: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """-log density of the logit-Laplace at `target` in (0, 1); all (B, 3, S, S)."""
    scaled = (torch.logit(target) - mean).abs() * torch.exp(-log_scale)
    return log_scale + scaled + torch.log(2 * target * (1 - target))


def kl_to_uniform(logits: Tensor) -> Tensor:
    """logits (B, K, h, w) -> (B, h, w): KL from the code distribution to the uniform one over K codes."""
    log_probabilities = logits.log_softmax(1)
    return (log_probabilities.exp() * log_probabilities).sum(1) + math.log(logits.shape[1])


@torch.no_grad()
def psnr(images: Tensor, others: Tensor) -> Tensor:
    """(B, 3, S, S) in [0, 1], two of them -> (B,) dB of each image, at most 100."""
    error = F.mse_loss(images, others, reduction="none").flatten(1).mean(1)
    return -10 * torch.log10(error.clamp(min=1e-10))
