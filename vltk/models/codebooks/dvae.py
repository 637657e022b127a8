"""DALL-E's discrete VAE (arXiv 2102.12092; openai/DALL-E encoder.py, decoder.py) at any size: FLAVA's visual tokenizer.

Full size: width 256, 2 blocks a group, 8192 codes, stride 8; 53.8 M parameters in the encoder, 43.8 M in the decoder.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vltk.errors import VltkError

MARGIN = 0.1  # map_pixels: keeps pixels away from 0 and 1, where the logit-Laplace density ends


def map_pixels(images: Tensor) -> Tensor:
    """uint8 or [0, 1] -> [0.1, 0.9]."""
    images = _channels_last(images)
    images = images if images.is_floating_point() else images / 255
    return (1 - 2 * MARGIN) * images + MARGIN


def unmap_pixels(images: Tensor) -> Tensor:
    """[0.1, 0.9] -> [0, 1], clamped."""
    return ((images - MARGIN) / (1 - 2 * MARGIN)).clamp(0, 1)


def _channels_last(tensor: Tensor) -> Tensor:
    """(A, C, H, W) in the order in memory in which convolutions are fastest.

    A copy, as `contiguous` would leave kernels of 1 x 1 in an order that convolutions do not take for this one.
    """
    return tensor.clone(memory_format=torch.channels_last)


class DVae(nn.Module):
    """Images (B, 3, S, S) -> one code a patch of `stride` pixels (B, N), and back.

    groups: resolutions; the stride is 2 ** (groups - 1). code_width: channels behind the code embedding.
    decoder: false where only the encoder's weights exist, as in FLAVA's files; then there is no way back.
    """

    def __init__(
        self,
        *,
        width: int = 256,
        blocks: int = 2,
        groups: int = 4,
        codes: int = 8192,
        code_width: int = 128,
        decoder: bool = True,
    ) -> None:
        super().__init__()
        self.num_codes, self.stride, self.reconstructs = codes, 2 ** (groups - 1), decoder
        widths = [width * 2**g for g in range(groups)]
        gain = 1 / (groups * blocks) ** 2
        self.encoder = _encoder(widths, blocks, gain, codes)
        self.decoder = _decoder(widths[::-1], blocks, gain, codes, code_width) if decoder else None
        for part in self.modules():
            if isinstance(part, nn.Conv2d) and part.bias is not None:  # openai/DALL-E utils.py
                nn.init.normal_(part.weight, std=1 / math.sqrt(part.weight[0].numel()))
                part.weight = nn.Parameter(_channels_last(part.weight.detach()))
                nn.init.zeros_(part.bias)

    @property
    def against_collapse(self) -> str:
        """What to do where all images get the same codes."""
        if self.decoder is None:
            return "take another tokenizer, as this one cannot be trained without its decoder"
        return "train it again, with kmeans: true of the objective dvae, the objective code_usage, or a lower rate"

    def logits(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) uint8 or [0, 1] -> (B, K, h, w). Raises VltkError where S is no multiple of the stride."""
        if images.shape[-1] % self.stride:
            raise VltkError(f"images of {images.shape[-1]} pixels given, no multiple of the stride {self.stride}")
        return self._whole(self.encoder[-1], self.encoder[:-1](map_pixels(images)))

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B * N, W) fp32: what the codes are told from, row by row."""
        return self.encoder[:-1](map_pixels(images)).permute(0, 2, 3, 1).flatten(0, 2).float()

    @torch.no_grad()
    def start_codes(self, centres: Tensor, spread: float) -> None:
        """Each code becomes one of `centres` (K, W) of the features: logits -|feature - centre|^2 / spread, shifted."""
        output: Any = self.encoder[-1]
        apart = centres - centres.mean(0)  # what is common to all codes makes no difference
        output.weight.copy_(2 / spread * apart[:, :, None, None])
        output.bias.copy_(-centres.square().sum(1) / spread)

    def stats(self, soft_codes: Tensor) -> Tensor:
        """(B, K, h, w) one-hot or relaxed -> (B, 6, S, S): mean and log scale of the logit-Laplace, 3 channels each.

        Raises VltkError where the codebook has no decoder.
        """
        if self.decoder is None:
            raise VltkError("this codebook has an encoder only (decoder: false): it gives codes, not images")
        return self.decoder[1:](self._whole(self.decoder[0], soft_codes))

    def _whole(self, layer: nn.Module, x: Tensor) -> Tensor:
        """The layers next to the codes are computed in fp32 under autocast too, as DALL-E does it."""
        with torch.autocast(x.device.type, enabled=False):
            return layer(x.float())

    @torch.no_grad()
    def codes(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) uint8 or [0, 1] -> (B, N) int64, row by row."""
        return self.logits(images).argmax(1).flatten(1)

    @torch.no_grad()
    def decode_codes(self, codes: Tensor) -> Tensor:
        """(B, N) of a square grid -> (B, 3, S, S) uint8."""
        side = math.isqrt(codes.shape[1])
        one_hot = F.one_hot(codes.view(-1, side, side), self.num_codes).permute(0, 3, 1, 2).float()
        pixels = unmap_pixels(self.stats(one_hot)[:, :3].sigmoid())
        return (pixels * 255).round().to(torch.uint8)

    def reconstruct(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, 3, S, S) uint8: what the codes alone remember."""
        return self.decode_codes(self.codes(images))


class _Block(nn.Module):
    """identity (1x1 when widths differ) + gain * four convolutions of a quarter of the width."""

    def __init__(self, before: int, after: int, kernels: tuple[int, int, int, int], gain: float) -> None:
        super().__init__()
        self.gain = gain
        self.identity = _conv(before, after, 1) if before != after else nn.Identity()
        sizes = [before, after // 4, after // 4, after // 4, after]
        self.convolutions = nn.ModuleList(_conv(a, b, k) for a, b, k in zip(sizes, sizes[1:], kernels, strict=False))

    def forward(self, x: Tensor) -> Tensor:
        residual = x
        for convolution in self.convolutions:
            residual = convolution(F.relu(residual))
        return self.identity(x) + self.gain * residual


def _conv(before: int, after: int, kernel: int) -> nn.Conv2d:
    return nn.Conv2d(before, after, kernel, padding=kernel // 2)


def _encoder(widths: list[int], blocks: int, gain: float, codes: int) -> nn.Sequential:
    parts: list[tuple[str, nn.Module]] = [("input", _conv(3, widths[0], 7))]
    before = widths[0]
    for number, width in enumerate(widths, 1):
        for block in range(1, blocks + 1):
            parts.append((f"group_{number}_block_{block}", _Block(before, width, (3, 3, 3, 1), gain)))
            before = width
        if number < len(widths):
            parts.append((f"group_{number}_pool", nn.MaxPool2d(2)))
    parts += [("relu", nn.ReLU()), ("output", _conv(before, codes, 1))]
    return nn.Sequential(OrderedDict(parts))


def _decoder(widths: list[int], blocks: int, gain: float, codes: int, code_width: int) -> nn.Sequential:
    parts: list[tuple[str, nn.Module]] = [("input", _conv(codes, code_width, 1))]
    before = code_width
    for number, width in enumerate(widths, 1):
        for block in range(1, blocks + 1):
            parts.append((f"group_{number}_block_{block}", _Block(before, width, (1, 3, 3, 3), gain)))
            before = width
        if number < len(widths):
            parts.append((f"group_{number}_upsample", nn.Upsample(scale_factor=2, mode="nearest")))
    parts += [("relu", nn.ReLU()), ("output", _conv(before, 6, 1))]
    return nn.Sequential(OrderedDict(parts))
